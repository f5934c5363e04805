"""Answer in int8 beside those in floating point, and the export."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from enrich.analysis import int8
from enrich.analysis.int8 import (
    Int8Comparison,
    compare_with_int8,
    refuse_other_answers,
    summarise,
    write_exported,
)
from enrich.classifiers.int8 import Int8Linear
from enrich.classifiers.manifest import read_manifest
from enrich.engine.spec import open_engine
from enrich.errors import ConfigError, ExportRefused
from enrich.records import EnrichedProduct, Modalities, Prediction, Product, Status

WORDS = ("red", "blue", "green", "white", "striped", "formal")


@pytest.fixture(scope="session")
def manifest(make_checkpoint, clip_config):
    """A checkpoint on CLIP's towers."""
    return read_manifest(make_checkpoint(clip_config))


@pytest.fixture(scope="session")
def products(tmp_path_factory, write_jpeg):
    """A picture and a text, a text alone, and one of which nothing can be read."""
    picture = write_jpeg(tmp_path_factory.mktemp("source") / "red.jpg")
    read = [
        Product(f"{a} {b}", f"{a} {b} shirt", None, str(picture) if a < b else None)
        for a in WORDS
        for b in WORDS
    ]
    return [*read, Product("nothing")]


@pytest.fixture(scope="session")
def image_root(products):
    return str(Path(next(one.image_path for one in products if one.image_path)).parent)


@pytest.fixture(scope="session")
def comparison(manifest, image_root, products):
    return compare_with_int8(manifest, image_root, products)


def test_the_comparison_is_of_answers_in_floating_point_and_in_int8(comparison):
    assert set(comparison.attributes) == {"color", "pattern", "style"}
    for one in comparison.attributes.values():
        assert one.products == 36
        assert 0 < one.mean_move <= one.largest_move < 0.05
    assert comparison.with_image == 15


def test_an_abstention_changes_the_answer_and_not_the_best_label():
    red = Prediction("color", "red", 0.9, False, 0.5, ())
    unsure, blue = replace(red, confidence=0.6, abstained=True), replace(red, label="blue")
    pairs = [(red, red), (red, unsure), (unsure, red), (unsure, unsure), (red, blue)]
    found = int8.measure_agreement([*pairs, (unsure, replace(blue, abstained=True))])
    assert (found.products, found.same, found.same_best) == (6, 3, 4)
    assert (found.mean_move, found.largest_move) == (pytest.approx(0.15), pytest.approx(0.3))


def test_a_product_that_one_of_both_read_without_its_image_is_not_compared():
    said = (Prediction("color", "red", 0.9, False, 0.5, ()),)
    whole = EnrichedProduct("1", Status.OK, Modalities.IMAGE_AND_TEXT, said)
    blind = replace(whole, status=Status.IMAGE_UNREADABLE, modalities=Modalities.TEXT, error="gone")
    found = int8.select_read_alike([whole, whole, blind], [whole, blind, whole])
    assert found == [(whole, whole)]


def test_products_or_images_that_cannot_be_read_are_refused_or_told(
    manifest, image_root, products, tmp_path, capsys
):
    with pytest.raises(ConfigError, match="found 0 products"):
        compare_with_int8(manifest, image_root, [])
    with pytest.raises(ConfigError, match="found 0 of 1 readable"):
        compare_with_int8(manifest, image_root, [Product("1")])
    elsewhere = [replace(one, image_path=one.image_path and "red.jpg") for one in products]
    with pytest.raises(ConfigError, match=r"not one of 15 images .* image root"):
        compare_with_int8(manifest, str(tmp_path), elsewhere)
    lost = Product("lost", "red shirt", None, "gone.jpg")
    assert compare_with_int8(manifest, image_root, [*products, lost]).with_image == 15
    assert "1 of 16 images cannot be read: 1 image_missing" in capsys.readouterr().err


def _agree(products, same, same_best):
    """Return the agreement of so many products of either kind."""
    red = Prediction("color", "red", 0.9, False, 0.5, ())
    other, unsure = replace(red, label="blue", abstained=True), replace(red, abstained=True)
    abstained = replace(other, label="red")
    pairs = [(red, unsure)] * (same_best - same) + [(abstained, other)] * (same - same_best)
    return int8.measure_agreement([*pairs, *[(red, red)] * (products - len(pairs))])


@pytest.mark.parametrize(
    ("same", "same_best", "is_refused"),
    [
        (1_000, 1_000, False),
        (990, 1_000, False),
        (975, 1_000, True),
        # All of it abstained on: the tables would show no difference.
        (1_000, 900, True),
    ],
)
def test_other_labels_are_refused_and_so_are_other_answers(same, same_best, is_refused):
    comparison = Int8Comparison({"color": _agree(1_000, same, same_best)}, 900)
    if is_refused:
        with pytest.raises(ExportRefused, match="found color unchanged"):
            refuse_other_answers(comparison, 0.98)
    else:
        refuse_other_answers(comparison, 0.98)
    # A few products that all stay are too few to tell.
    few = Int8Comparison({"color": _agree(20, 20, 20)}, 20)
    with pytest.raises(ExportRefused, match="larger --sample"):
        refuse_other_answers(few, 0.98)


def test_what_is_written_computes_in_int8_under_a_version_of_its_own(
    manifest, products, comparison, tmp_path
):
    write_exported(manifest, "clip-int8", comparison, tmp_path / "clip-int8")

    written = read_manifest(tmp_path / "clip-int8")
    assert written.config.int8 and written.config.name == "clip-int8"
    assert written.digests.encoder != manifest.digests.encoder
    assert written.calibration == manifest.calibration
    metrics = json.loads((tmp_path / "clip-int8" / "metrics.json").read_text())
    assert metrics["made"] == "up" and metrics["int8"] == summarise(comparison)
    card = (tmp_path / "clip-int8" / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny\n") and f"content {manifest.digests.model}" in card
    assert "15 of the products were answered with their image" in card

    engine = open_engine(written, "/nowhere")
    towers = (engine.classifier.image_tower, engine.classifier.text_tower)
    assert all(any(isinstance(p, Int8Linear) for p in tower.modules()) for tower in towers)
    assert len(list(engine.enrich(products))) == len(products)
