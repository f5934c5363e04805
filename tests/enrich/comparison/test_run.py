"""Two checkpoints are compared on the same products, under every condition."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from enrich.comparison.contenders import Contender, load_contenders
from enrich.comparison.run import Comparison, Workplace, compare
from enrich.comparison.shops import build_shops
from enrich.errors import ConfigError
from enrich.training.conditions import Condition
from enrich.training.evaluation import evaluate

CPU = torch.device("cpu")
ATTRIBUTES = ("color", "pattern", "style")


@pytest.fixture(scope="module")
def contenders(two_checkpoints: Mapping[str, Path]) -> list[Contender]:
    return load_contenders([str(folder) for folder in two_checkpoints.values()], CPU)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("compared")
    return Workplace(CPU, folder / "cache", folder / "plots")


@pytest.fixture(scope="module")
def comparison(contenders: list[Contender], shop_folder: Path, place: Workplace) -> Comparison:
    return compare(contenders, build_shops([], [shop_folder], None), 50, place)


def test_every_checkpoint_condition_and_attribute_has_its_figures(comparison: Comparison) -> None:
    keys = [(r["checkpoint"], r["condition"], r["attribute"]) for r in comparison.figures]
    assert keys == [
        (checkpoint, condition.value, attribute)
        for checkpoint in ("tiny", "other")
        for condition in Condition
        for attribute in ATTRIBUTES
    ]
    assert {record["shop"] for record in comparison.figures} == {"colored, all products"}


def test_figures_are_those_that_training_reports(
    comparison: Comparison, contenders: list[Contender], shop_folder: Path, place: Workplace
) -> None:
    (shop,) = build_shops([], [shop_folder], None)
    products = shop.load(contenders[0].attributes)
    batches = contenders[0].batches(products, place.cache)
    # Else its layers would be computed one by one here, which is less exact in half precision.
    batches.see_once(contenders[0].classifier)
    rows = torch.arange(len(products)).numpy()
    calibration = contenders[0].manifest.calibration
    wanted = evaluate(contenders[0].classifier, batches, rows, calibration)
    for record in comparison.figures[:15]:
        figures = wanted[record["condition"]][record["attribute"]]
        # Features are cached in half precision.
        assert {name: record[name] for name in figures} == pytest.approx(figures, abs=0.03)


def test_a_shop_of_whose_labelled_products_none_can_be_read_is_refused(
    contenders: list[Contender], tmp_path: Path
) -> None:
    folder = tmp_path / "unread"
    folder.mkdir()
    titles = pd.DataFrame({"product_id": ["1", "2"], "title": ["", "a shirt"]})
    titles.assign(description=None, image_path=None).to_parquet(folder / "products.parquet")
    labels = pd.DataFrame({"product_id": ["1", "2"], "group_id": ["1", "2"]})
    labels.assign(color=["red", None]).to_parquet(folder / "labels.parquet")

    with pytest.raises(ConfigError, match=r"no labelled product of .*unread has a text"):
        place = Workplace(CPU, tmp_path / "cache", tmp_path / "plots")
        compare(contenders, build_shops([], [folder], None), 50, place)


def test_differences_are_to_the_first_checkpoint(comparison: Comparison) -> None:
    by_key = {(r["checkpoint"], r["condition"], r["attribute"]): r for r in comparison.figures}
    assert len(comparison.differences) == 15
    for record in comparison.differences:
        assert (record["checkpoint"], record["against"]) == ("other", "tiny")
        where = record["condition"], record["attribute"]
        wanted = by_key["other", *where]["accuracy"] - by_key["tiny", *where]["accuracy"]
        assert record["accuracy"] == pytest.approx(wanted, abs=1e-4)


def test_each_checkpoint_has_its_costs(comparison: Comparison) -> None:
    assert [cost["checkpoint"] for cost in comparison.costs] == ["tiny", "other"]
    for cost in comparison.costs:
        assert cost["classifier"] == "cma_clip" and cost["checkpoint_bytes"] > 1_000_000
        assert 0 < cost["pretrained_parameters"] < cost["parameters"]
        assert cost["flops_per_product"] > 1e6 and cost["products_per_second"] > 0


def test_checkpoints_with_the_same_image_tower_share_its_features(
    comparison: Comparison, place: Workplace
) -> None:
    assert len(list(place.cache.glob("*/pixels.npy"))) == 1
    assert len(list(place.cache.glob("*/image_features-*.npy"))) == 1


def test_plots_are_sorted_by_checkpoint_and_shop(comparison: Comparison, place: Workplace) -> None:
    assert (place.plots / "overview.png").exists()
    for checkpoint in ("tiny", "other"):
        assert (place.plots / checkpoint / "colored-all-products" / "reliability.png").exists()


def test_attributes_with_other_labels_are_measured_and_not_compared(
    contenders: list[Contender], shop_folder: Path, tmp_path: Path
) -> None:
    first, other = contenders
    colors = ("green", "red", "white", "mauve")
    config = other.manifest.config
    config = config.model_copy(update={"attributes": config.attributes | {"color": colors}})
    other = replace(other, manifest=replace(other.manifest, config=config))
    place = Workplace(CPU, tmp_path / "cache", tmp_path / "plots")
    shops = build_shops([], [shop_folder], limit=30)
    comparison = compare([first, other], shops, 10, place)
    assert {record["attribute"] for record in comparison.differences} == {"pattern", "style"}
    assert len(comparison.figures) == 30


def test_attributes_with_the_same_labels_in_another_order_are_compared(
    contenders: list[Contender], shop_folder: Path, tmp_path: Path
) -> None:
    first, other = contenders
    config = other.manifest.config
    reversed_ = {attribute: labels[::-1] for attribute, labels in config.attributes.items()}
    config = config.model_copy(update={"attributes": reversed_})
    other = replace(other, manifest=replace(other.manifest, config=config))
    place = Workplace(CPU, tmp_path / "cache", tmp_path / "plots")
    comparison = compare([first, other], build_shops([], [shop_folder], limit=30), 10, place)
    assert {record["attribute"] for record in comparison.differences} == set(ATTRIBUTES)
