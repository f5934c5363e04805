"""The deletion test of the attention map."""

import numpy as np
import pytest
import torch
from labelled import labelled_products
from PIL import Image

from bench import attention
from bench.attention import (
    CENTRE,
    INK,
    MARKED,
    RANDOM,
    draw_deletion,
    hide,
    measure_deletion,
    patch_attention,
    tabulate,
)
from enrich.analysis.explain import explain
from enrich.lexicon import Lexicon
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition
from enrich.training.caches import CachedImages


def test_hidden_patches_are_white_and_all_others_stay():
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    hidden = hide(pixels, torch.tensor([[0], [3]]), grid=2)
    assert (hidden[0, :, :4, :4] == 255).all() and hidden[0].sum() == 3 * 16 * 255
    assert (hidden[1, :, 4:, 4:] == 255).all() and hidden[1].sum() == 3 * 16 * 255


def test_the_map_that_is_checked_is_the_map_that_is_drawn(engine, product):
    inputs = engine.build_inputs([engine.prepare(product)])
    drawn = explain(engine, product, 1).whole_image
    checked = patch_attention(engine.classifier, inputs)[0]
    assert drawn is not None
    assert np.allclose(drawn.flatten(), (checked / checked.sum()).numpy(), atol=1e-5)


def test_a_map_that_marks_what_matters_costs_more_confidence_than_random_patches(
    engine, monkeypatch, tmp_path_factory
):
    folder, rows = tmp_path_factory.mktemp("deletion"), 30
    pixels = np.full((rows, 3, 64, 64), 255, np.uint8)
    # All ink is in the first patch, and the answer is the share of ink.
    pixels[:, :, :32, :32] = 0
    images = CachedImages(pixels, np.ones(rows, bool), folder)
    words = LabelWords(engine.classifier.config.attributes, Lexicon({}))
    batches = Batches(labelled_products([""] * rows), images, engine.encode_texts, words)

    def answer(classifier, inputs):
        ink = 1 - inputs.pixel_values.float().mean((1, 2, 3)) / 255
        return {"color": torch.stack([0.5 + ink, 0.5 - ink], dim=1)}

    monkeypatch.setattr(attention, "_probabilities", answer)
    monkeypatch.setattr(
        attention, "patch_attention", lambda classifier, inputs: torch.eye(4)[[0] * rows]
    )
    found = measure_deletion(engine.classifier, batches, np.arange(rows), Condition.NO_TEXT)
    drops = found.drops["color"]
    one = found.hidden.index(1)
    assert drops[MARKED].mean[one] == drops[INK].mean[one] == pytest.approx(0.25)
    assert drops[RANDOM].mean[one] < 0.2 and drops[CENTRE].mean[one] < 0.2
    assert {*drops[MARKED].mean[found.hidden.index(4) :].tolist()} == {0.25}
    (row,) = tabulate([found]).blocks[0]
    assert row[:3] == ["text removed", "color", "0.250"]
    draw_deletion(found, "made up", folder / "figure.png")
    with Image.open(folder / "figure.png") as image:
        assert image.format == "PNG"
