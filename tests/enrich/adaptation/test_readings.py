"""A labelled product is read with all, and with parts, of what it has."""

from dataclasses import replace
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from adaptations import make_answers, make_effect

from enrich.adaptation.checkpoint import write_adapted
from enrich.adaptation.readings import fullest, take_readings
from enrich.adaptation.shop_labels import read_shop_labels
from enrich.adaptation.trial import Gain
from enrich.calibration import ScoreCorrection
from enrich.classifiers.manifest import read_manifest
from enrich.engine.spec import open_engine
from enrich.files.products import read_catalog
from enrich.records import Modalities


@pytest.fixture
def two_colors(engine, shop, tmp_path):
    """Colors of two products with picture and text."""
    labels = pd.DataFrame({"product_id": ["whole", "blue twin"], "color": ["red", "blue"]})
    labels.to_csv(file := tmp_path / "labels.csv", index=False)
    return read_shop_labels(file, read_catalog(shop / "products.parquet"), engine.spec.attributes)


def test_a_product_is_in_every_reading_that_it_has_modalities_for(
    engine, shop, tmp_path, monkeypatch
):
    opened = Mock(wraps=engine._store.read)
    monkeypatch.setattr(engine._store, "read", opened)
    labels = {
        "whole": "red", "blue twin": "blue", "red twin": None,
        "no words": "blue", "no picture": "blue", "nothing": "red",
    }  # fmt: skip
    file = tmp_path / "corrections.parquet"
    table = pd.DataFrame({"product_id": labels.keys(), "color": labels.values()})
    table.assign(style="casual").to_parquet(file)
    shop_labels = read_shop_labels(
        file, read_catalog(shop / "products.parquet"), engine.spec.attributes
    )
    readings = take_readings(engine, shop_labels).by_attribute

    assert opened.call_count == len(labels), "each picture once"
    assert list(readings) == ["color", "style"]
    by_modalities = dict(zip(Modalities, readings["color"].answers, strict=True))
    assert by_modalities[Modalities.IMAGE_AND_TEXT].product.tolist() == [0, 1]
    assert by_modalities[Modalities.IMAGE].product.tolist() == [0, 1, 3]
    assert by_modalities[Modalities.TEXT].product.tolist() == [0, 1, 4]
    assert by_modalities[Modalities.TEXT].targets.tolist() == [0, 2, 2]
    assert torch.equal(by_modalities[Modalities.IMAGE].image_weight, torch.ones(3))

    whole = fullest(readings["color"].answers)
    assert whole.product.tolist() == [0, 1, 3, 4], "each product once"
    assert whole.modalities == [Modalities.IMAGE_AND_TEXT] * 2 + [Modalities.IMAGE, Modalities.TEXT]
    assert torch.equal(whole.logits[:2], by_modalities[Modalities.IMAGE_AND_TEXT].logits)
    assert not torch.equal(whole.logits[0], by_modalities[Modalities.IMAGE].logits[0])
    picture, has_picture, words, has_words = whole.embeds.tensor_split(
        [(width := whole.embeds.shape[1] // 2) - 1, width, -1], dim=1
    )
    assert has_picture.flatten().tolist() == [1, 1, 1, 0]
    assert has_words.flatten().tolist() == [1, 1, 0, 1]
    assert picture[:3].any(1).all() and not picture[3].any()
    assert words[[0, 1, 3]].any(1).all() and not words[2].any()


def test_a_trust_that_was_fitted_is_the_one_that_the_job_reads_with(
    engine, shop, two_colors, tiny_checkpoint, tmp_path
):
    before = take_readings(engine, two_colors).by_attribute["color"]
    answered = {"answered_at_90_threshold": 0.5, "precision_at_90_threshold": 0.9}
    figures = {"rows": 60, "accuracy": 0.5, **answered}
    given = read_manifest(tiny_checkpoint)
    unchanged = make_effect(figures, Gain(1.0, 0.1, 100), given.calibration.attributes["color"])
    effect = replace(unchanged, bias_shift=3.0)
    write_adapted(given, {"color": effect}, "adapted", "shop", tmp_path / "adapted")
    fitted = read_manifest(tmp_path / "adapted")
    assert fitted.digests.encoder == given.digests.encoder
    assert fitted.digests.model != given.digests.model
    adapted = open_engine(fitted, str(shop))
    (after, *_) = take_readings(adapted, two_colors).by_attribute["color"].answers
    wanted = before.at(3.0)[0]
    torch.testing.assert_close(after.logits, wanted.logits, atol=0.02, rtol=0)
    torch.testing.assert_close(after.image_weight, wanted.image_weight, atol=0.01, rtol=0)
    as_it_was = before.at(0.0)[0]
    assert (after.image_weight > as_it_was.image_weight + 0.1).all()
    assert (before.at(-3.0)[0].image_weight < as_it_was.image_weight).all()


def test_scores_are_read_after_the_correction_that_a_checkpoint_brings_along(
    engine, two_colors, monkeypatch
):
    before = take_readings(engine, two_colors).by_attribute["color"]
    bias = torch.tensor([3.0, -1.0, 0.0, 2.0])
    corrections = {"color": ScoreCorrection(bias=tuple(bias.tolist()))}
    corrected = engine.answerer.calibration.model_copy(update={"corrections": corrections})
    monkeypatch.setattr(engine.answerer, "calibration", corrected)
    after = take_readings(engine, two_colors).by_attribute["color"]
    for shift in (-3.0, 0.0, 3.0):
        for raw, found in zip(before.at(shift), after.at(shift), strict=True):
            torch.testing.assert_close(found.logits, raw.logits + bias)


def test_a_classifier_without_modality_weights_is_read_alike():
    def reading(modalities, *products):
        targets = torch.zeros(len(products), dtype=torch.long)
        return make_answers(torch.ones(len(products), 2), targets, modalities, products)

    both, image = reading(Modalities.IMAGE_AND_TEXT, 0, 1), reading(Modalities.IMAGE, 0, 1, 2)
    whole = fullest([both, image, reading(Modalities.TEXT, 0, 1, 3)])
    assert whole.product.tolist() == [0, 1, 2, 3] and whole.image_weight is None
    some = whole.where(whole.product > 1)
    assert some.modalities == [Modalities.IMAGE, Modalities.TEXT] and some.image_weight is None
