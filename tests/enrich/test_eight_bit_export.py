"""A checkpoint in eight bits is written where answers stay, and then is one like any other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from enrich import eight_bit_export
from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import save_checkpoint
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.eight_bits import EightBitLinear
from enrich.classifiers.manifest import Manifest, read_manifest
from enrich.classifiers.registry import build_classifier
from enrich.eight_bit_export import (
    Agreement,
    Comparison,
    compare,
    refuse_other_answers,
    write_exported,
)
from enrich.engine import open_engine
from enrich.errors import ConfigError, ExportRefused
from enrich.records import Prediction, Product

WORDS = ("red", "blue", "green", "white", "striped", "formal")


@pytest.fixture(scope="module")
def manifest(
    tmp_path_factory: pytest.TempPathFactory,
    clip_config: ClassifierConfig,
    tokenizer: Tokenizer,
    calibration: Calibration,
) -> Manifest:
    """A checkpoint on CLIP's towers."""
    torch.manual_seed(0)
    classifier = build_classifier(clip_config, tokenizer.get_vocab_size())
    folder = tmp_path_factory.mktemp("checkpoints") / "clip"
    save_checkpoint(folder, classifier, tokenizer, calibration, {"made": "up"}, "# clip\n")
    return read_manifest(folder)


@pytest.fixture(scope="module")
def products(
    tmp_path_factory: pytest.TempPathFactory, write_jpeg: Callable[..., Path]
) -> list[Product]:
    """A picture and a text, a text alone, and one of which nothing can be read."""
    picture = write_jpeg(tmp_path_factory.mktemp("shop") / "red.jpg")
    read = [
        Product(f"{a} {b}", f"{a} {b} shirt", None, str(picture) if a < b else None)
        for a in WORDS
        for b in WORDS
    ]
    return [*read, Product("nothing")]


@pytest.fixture(scope="module")
def image_root(products: list[Product]) -> str:
    return str(Path(next(one.image_path for one in products if one.image_path)).parent)


@pytest.fixture(scope="module")
def comparison(manifest: Manifest, image_root: str, products: list[Product]) -> Comparison:
    return compare(manifest, image_root, products)


def test_the_comparison_is_of_answers_in_floating_point_and_in_eight_bits(
    comparison: Comparison,
) -> None:
    assert set(comparison.attributes) == {"color", "pattern", "style"}
    for one in comparison.attributes.values():
        assert one.products == len(WORDS) ** 2
        assert 0 < one.mean_move <= one.largest_move < 0.05
    assert comparison.speedup > 0


def test_neither_engine_always_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eight_bit_export, "_WARM_UP", 0)
    turns = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def enrich(self, products: list[int]) -> list[str]:
            turns.extend([self.name] * bool(products))
            return [f"{self.name}{product}" for product in products]

    given = list(range(2 * eight_bit_export._TURN + 1))
    (before, _), (after, _) = eight_bit_export._answer_in_turn([Named("b"), Named("a")], given)
    assert turns == ["b", "a", "a", "b", "b", "a"]
    assert before == [f"b{product}" for product in given]
    assert after == [f"a{product}" for product in given]


def test_an_answer_that_is_abstained_on_afterwards_is_another_and_its_best_label_the_same() -> None:
    red = Prediction("color", "red", 0.9, False, 0.5, ())
    unsure, blue = replace(red, confidence=0.6, abstained=True), replace(red, label="blue")
    pairs = [(red, red), (red, unsure), (unsure, red), (unsure, unsure), (red, blue)]
    found = eight_bit_export._agree([*pairs, (unsure, replace(blue, abstained=True))])
    assert (found.products, found.same, found.same_best) == (6, 3, 4)
    assert (found.mean_move, found.largest_move) == (pytest.approx(0.15), pytest.approx(0.3))


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
def test_other_labels_are_refused_and_so_are_other_answers(
    same: int, same_best: int, is_refused: bool
) -> None:
    comparison = Comparison({"color": Agreement(1_000, same, same_best, 0.01, 0.1)}, 2, 1)
    if is_refused:
        with pytest.raises(ExportRefused, match="color stays in"):
            refuse_other_answers(comparison, 0.98)
    else:
        refuse_other_answers(comparison, 0.98)


def test_a_few_products_that_all_stay_are_too_few_to_tell() -> None:
    with pytest.raises(ExportRefused, match="larger --sample"):
        refuse_other_answers(Comparison({"color": Agreement(20, 20, 20, 0, 0)}, 2, 1), 0.98)


def test_what_is_written_computes_in_eight_bits_under_a_version_of_its_own(
    manifest: Manifest, products: list[Product], comparison: Comparison, tmp_path: Path
) -> None:
    write_exported(manifest, "clip-int8", comparison, tmp_path / "clip-int8")

    written = read_manifest(tmp_path / "clip-int8")
    assert written.config.int8 and written.config.name == "clip-int8"
    assert written.digest != manifest.digest
    assert written.calibration == manifest.calibration
    metrics = json.loads((tmp_path / "clip-int8" / "metrics.json").read_text())
    assert metrics["made"] == "up" and metrics["int8"] == eight_bit_export.summarise(comparison)
    card = (tmp_path / "clip-int8" / "MODEL_CARD.md").read_text()
    assert card.startswith("# clip\n") and f"content {manifest.digest}" in card

    engine = open_engine(written, "/nowhere")
    towers = (engine.classifier.image_tower, engine.classifier.text_tower)
    assert all(any(isinstance(p, EightBitLinear) for p in tower.modules()) for tower in towers)
    assert len(list(engine.enrich(products))) == len(products)


def test_products_that_cannot_be_read_are_no_comparison(
    manifest: Manifest, image_root: str
) -> None:
    with pytest.raises(ConfigError, match="no products"):
        compare(manifest, image_root, [])
    with pytest.raises(ConfigError, match="--image-root"):
        compare(manifest, image_root, [Product("1", None, None, "gone.jpg")])
