"""Answers in floating point and in eight bits are compared product by product."""

from dataclasses import replace

import pytest

from enrich.classifiers.manifest import Manifest
from enrich.eight_bits import agreement
from enrich.eight_bits.agreement import EightBitComparison, compare_in_eight_bits
from enrich.errors import ConfigError
from enrich.records import Prediction, Product


def test_the_comparison_is_of_answers_in_floating_point_and_in_eight_bits(
    comparison: EightBitComparison,
) -> None:
    assert set(comparison.attributes) == {"color", "pattern", "style"}
    for one in comparison.attributes.values():
        assert one.products == 36
        assert 0 < one.mean_move <= one.largest_move < 0.05
    assert comparison.speedup > 0


def test_neither_engine_always_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_WARM_UP", 0)
    turns = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def enrich(self, products: list[int]) -> list[str]:
            turns.extend([self.name] * bool(products))
            return [f"{self.name}{product}" for product in products]

    given = list(range(2 * agreement._TURN + 1))
    (before, _), (after, _) = agreement._answer_in_turn([Named("b"), Named("a")], given)
    assert turns == ["b", "a", "a", "b", "b", "a"]
    assert before == [f"b{product}" for product in given]
    assert after == [f"a{product}" for product in given]


def test_an_answer_that_is_abstained_on_afterwards_is_another_and_its_best_label_the_same() -> None:
    red = Prediction("color", "red", 0.9, False, 0.5, ())
    unsure, blue = replace(red, confidence=0.6, abstained=True), replace(red, label="blue")
    pairs = [(red, red), (red, unsure), (unsure, red), (unsure, unsure), (red, blue)]
    found = agreement._agree([*pairs, (unsure, replace(blue, abstained=True))])
    assert (found.products, found.same, found.same_best) == (6, 3, 4)
    assert (found.mean_move, found.largest_move) == (pytest.approx(0.15), pytest.approx(0.3))


def test_products_that_cannot_be_read_are_no_comparison(
    manifest: Manifest, image_root: str
) -> None:
    with pytest.raises(ConfigError, match="no products"):
        compare_in_eight_bits(manifest, image_root, [])
    with pytest.raises(ConfigError, match="--image-root"):
        compare_in_eight_bits(manifest, image_root, [Product("1", None, None, "gone.jpg")])
