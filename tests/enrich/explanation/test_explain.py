"""An explanation holds the engine's own answers, and where they come from."""

import dataclasses

import numpy as np
import pytest
import torch

from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.towers import build_towers
from enrich.engine import Engine
from enrich.errors import CheckpointError, ConfigError
from enrich.explanation.explain import ReadWord, explain
from enrich.records import Modalities, Product


def test_answers_and_pixels_are_the_engines_own(engine: Engine, product: Product) -> None:
    found = explain(engine, product, 12)
    assert found.answer == next(engine.enrich([product]))
    assert found.pixels is not None
    assert (found.pixels == engine.prepare(product).pixels).all()


@pytest.mark.parametrize(
    ("product", "style"),
    [
        (Product("p1", "shirt", None, "red.jpg"), 0.52),
        (Product("p1", image_path="red.jpg"), 0.53),
        (Product("p1", "shirt"), 0.51),
    ],
    ids=["both", "image", "text"],
)
def test_thresholds_are_those_of_what_the_product_was_read_from(
    engine: Engine, product: Product, style: float
) -> None:
    found = explain(engine, product, 12)
    assert found.thresholds == {"color": 0.0, "pattern": float("inf"), "style": style}


def test_each_map_is_a_grid_of_patches_and_sums_to_one(engine: Engine, product: Product) -> None:
    found = explain(engine, product, 12)
    maps = [found.whole_image, found.whole_text, *(word.patches for word in found.words)]
    assert len(maps) > 4
    for patches in maps:
        assert patches is not None and patches.shape == (2, 2)
        assert patches.sum() == pytest.approx(1) and patches.min() >= 0


def _each_on_one_patch(classifier: Classifier, inputs: ModelInputs) -> torch.Tensor:
    """Of 2 x 2 patches a picture's tokens look at the upper right, a text's at the lower left."""
    text_length = inputs.token_ids.shape[1]
    weights = torch.zeros(1, text_length + 5, text_length + 5)
    # CLS, then the patches row by row: upper left, upper right, lower left, lower right.
    weights[:, text_length:, text_length + 1 + 1] = 1
    weights[:, :text_length, text_length + 1 + 2] = 1
    return weights


def test_a_patch_lies_in_the_map_where_it_lies_in_the_picture(
    engine: Engine, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enrich.explanation.explain.joint_attention", _each_on_one_patch)
    found = explain(engine, product, 12)
    assert found.whole_image is not None and found.whole_image.tolist() == [[0, 1], [0, 0]]
    for patches in (found.whole_text, found.words[0].patches):
        assert patches is not None and patches.tolist() == [[0, 0], [1, 0]]


def test_what_a_word_adds_is_the_confidence_less_that_without_it(
    engine: Engine, product: Product
) -> None:
    found = explain(engine, product, 12)
    striped = next(word for word in found.words if word.text == "striped")
    left = dataclasses.replace(product, title="Red T-shirt", description="a shirt for the office")
    for before, after in zip(
        found.answer.predictions, next(engine.enrich([left])).predictions, strict=True
    ):
        candidates = {c.label: c.confidence for c in (*after.alternatives, after)}
        wanted = before.confidence - candidates[before.label]
        # The engine may compute in half precision.
        assert striped.adds[before.attribute] == pytest.approx(wanted, abs=0.01)


def test_the_words_that_move_an_answer_most_come_first(engine: Engine, product: Product) -> None:
    effects = [abs(word.effect[1]) for word in explain(engine, product, 12).words]
    assert effects == sorted(effects, reverse=True)
    first = explain(engine, product, 3).words
    assert [abs(word.effect[1]) for word in first] == effects[:3]
    assert first[0].effect[1] in first[0].adds.values()


def test_a_word_s_effect_is_on_the_attribute_that_it_moved_most_either_way() -> None:
    word = ReadWord("red", None, {"color": -0.6, "pattern": 0.1, "style": 0.4})
    assert word.effect == ("color", -0.6)


def test_a_product_without_text_shows_where_the_picture_looks(engine: Engine) -> None:
    found = explain(engine, Product("p1", image_path="red.jpg"), 12)
    assert found.answer.modalities is Modalities.IMAGE
    assert (found.words, found.whole_text) == ((), None) and found.whole_image is not None


def test_a_product_without_image_shows_what_its_words_add(engine: Engine) -> None:
    found = explain(engine, Product("p1", "red shirt", image_path="gone.jpg"), 12)
    assert found.answer.modalities is Modalities.TEXT
    assert (found.pixels, found.whole_image, found.whole_text) == (None, None, None)
    assert {word.text for word in found.words} == {"red", "shirt"}
    assert all(word.patches is None for word in found.words)


def test_a_single_word_that_is_all_there_is_carries_the_whole_answer(engine: Engine) -> None:
    found = explain(engine, Product("p1", "shirt"), 12)
    adds = found.words[0].adds
    assert all(np.isfinite(list(adds.values())))
    for prediction in found.answer.predictions:
        assert adds[prediction.attribute] == pytest.approx(prediction.confidence, abs=0.01)


def test_a_product_of_which_nothing_can_be_read_is_refused(engine: Engine) -> None:
    with pytest.raises(ConfigError, match=r"'p1' cannot be explained.*image_missing"):
        explain(engine, Product("p1", image_path="gone.jpg"), 12)


def test_an_image_tower_without_a_grid_is_refused(
    engine: Engine, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enrich.explanation.explain.joint_attention", _each_on_one_patch)
    monkeypatch.setattr(engine.classifier.image_tower, "grid", 0)
    with pytest.raises(CheckpointError, match="no grid of patches"):
        explain(engine, product, 12)


@pytest.mark.parametrize("config", ["small_config", "clip_config"])
def test_an_image_tower_says_the_grid_that_follows_its_cls(
    config: str, request: pytest.FixtureRequest
) -> None:
    tower = build_towers(request.getfixturevalue(config), vocabulary=320)[0].eval()
    with torch.inference_mode():
        embeds = tower.embed(tower.features(torch.zeros(1, 3, 64, 64))).embeds
    assert tower.grid == 2 and embeds.shape[1] >= 1 + 2 * 2
