"""Answers in floating point and in eight bits are compared product by product."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from enrich.classifiers.interface import ModelInputs, ModelOutput
from enrich.classifiers.manifest import Manifest
from enrich.eight_bits import agreement
from enrich.eight_bits.agreement import EightBitComparison, compare_in_eight_bits
from enrich.errors import ConfigError
from enrich.forward import Forward
from enrich.records import EnrichedProduct, Modalities, Prediction, Product, Status
from enrich.spec import default_spec


def test_the_comparison_is_of_answers_in_floating_point_and_in_eight_bits(
    comparison: EightBitComparison,
) -> None:
    assert set(comparison.attributes) == {"color", "pattern", "style"}
    for one in comparison.attributes.values():
        assert one.products == 36
        assert 0 < one.mean_move <= one.largest_move < 0.05
    assert comparison.with_image == 15
    assert comparison.speedup > 0


@pytest.mark.usefixtures("own_threads")
def test_the_batches_are_as_large_as_a_job_computes_them_however_many_cores_there_are(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(4)
    compute, computed = Forward.__call__, []

    def note(forward: Forward, inputs: ModelInputs) -> ModelOutput:
        computed.append(len(inputs.has_text))
        return compute(forward, inputs)

    monkeypatch.setattr(Forward, "__call__", note)
    compare_in_eight_bits(manifest, "", [Product(str(n), f"red {n}") for n in range(1_024)])
    assert set(computed) == {default_spec(manifest, "").batch_size}


def test_neither_engine_always_goes_first_and_each_takes_its_own_time_a_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[str] = []
    clock = SimpleNamespace(seconds=0.0, process_time=lambda: clock.seconds)
    monkeypatch.setattr(agreement, "time", clock)

    class Named:
        window_size = 3

        def __init__(self, name: str, ms_a_product: float) -> None:
            self.name, self.ms_a_product = name, ms_a_product

        def enrich(self, products: list[int]) -> list[str]:
            turns.append(self.name)
            clock.seconds += self.ms_a_product * len(products) / 1_000
            return [f"{self.name}{product}" for product in products]

    given = list(range(2 * Named.window_size + 1))
    engines = [Named("b", ms_a_product=4.0), Named("a", ms_a_product=2.0)]
    (before, ms_before), (after, ms_after) = agreement._answer_in_turn(engines, given)
    warming, timed = turns[:2], turns[2:]
    assert warming == ["b", "a"]
    assert timed == ["b", "a", "a", "b", "b", "a"]
    assert before == [f"b{product}" for product in given]
    assert after == [f"a{product}" for product in given]
    assert (ms_before, ms_after) == (pytest.approx(4.0), pytest.approx(2.0))


def test_an_answer_that_is_abstained_on_afterwards_is_another_and_its_best_label_the_same() -> None:
    red = Prediction("color", "red", 0.9, False, 0.5, ())
    unsure, blue = replace(red, confidence=0.6, abstained=True), replace(red, label="blue")
    pairs = [(red, red), (red, unsure), (unsure, red), (unsure, unsure), (red, blue)]
    found = agreement._agree([*pairs, (unsure, replace(blue, abstained=True))])
    assert (found.products, found.same, found.same_best) == (6, 3, 4)
    assert (found.mean_move, found.largest_move) == (pytest.approx(0.15), pytest.approx(0.3))


def test_a_product_that_one_of_both_read_without_its_image_is_not_compared() -> None:
    said = (Prediction("color", "red", 0.9, False, 0.5, ()),)
    whole = EnrichedProduct("1", Status.OK, Modalities.IMAGE_AND_TEXT, said)
    blind = replace(whole, status=Status.IMAGE_UNREADABLE, modalities=Modalities.TEXT, error="gone")
    found = agreement._choose_read_alike([whole, whole, blind], [whole, blind, whole])
    assert found == [(whole, whole)]


def test_products_that_cannot_be_read_are_no_comparison(
    manifest: Manifest, image_root: str
) -> None:
    with pytest.raises(ConfigError, match="no products"):
        compare_in_eight_bits(manifest, image_root, [])
    with pytest.raises(ConfigError, match="none of the 1 products"):
        compare_in_eight_bits(manifest, image_root, [Product("1")])


def test_texts_alone_are_no_comparison_where_images_are_named(
    manifest: Manifest, products: list[Product], tmp_path: Path
) -> None:
    elsewhere = [replace(one, image_path=one.image_path and "red.jpg") for one in products]
    with pytest.raises(ConfigError, match=r"not one of 15 images .* image root"):
        compare_in_eight_bits(manifest, str(tmp_path), elsewhere)


def test_images_that_are_lost_are_told(
    manifest: Manifest,
    image_root: str,
    products: list[Product],
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = Product("lost", "red shirt", None, "gone.jpg")
    assert compare_in_eight_bits(manifest, image_root, [*products, lost]).with_image == 15
    assert "1 of 16 images cannot be read: 1 image_missing" in capsys.readouterr().err
