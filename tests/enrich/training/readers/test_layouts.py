"""`--catalog` names a folder, or a layout and a path; published splits are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import load_labelled

from enrich.classifiers.manifest import read_manifest
from enrich.errors import ConfigError
from enrich.settings_files import load_yaml
from enrich.training.config import Phase, TrainingConfig
from enrich.training.label_checks import with_labels_of
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    join_catalogs,
    read_catalogs,
)
from enrich.training.readers.layouts import read_labelled
from enrich.training.run import train_checkpoint

CONF = Path(__file__).parents[4] / "jobs" / "conf"
FOODS = {"class": ("apple pie", "beet salad")}


def test_a_catalog_without_layout_is_a_folder_of_ours(catalog: Path, food101: Path) -> None:
    assert read_labelled(catalog).labels.keys() >= {"color", "pattern", "style"}
    assert read_labelled(Path(f"catalog:{catalog}")).root == catalog
    assert read_labelled(Path(f"food101:{food101}")).labels.keys() == {"class"}


def test_a_folder_with_a_colon_in_its_name_is_a_folder(tmp_path: Path, catalog: Path) -> None:
    (tmp_path / "food101:shop").symlink_to(catalog)
    assert len(read_labelled(tmp_path / "food101:shop")) == len(read_labelled(catalog))


def test_an_unknown_layout_is_refused_with_those_that_are_known(food101: Path) -> None:
    with pytest.raises(ConfigError, match=r"no layout 'food102'.*catalog, food101, fashion_gen, t"):
        read_labelled(Path(f"food102:{food101}"))


def test_a_published_test_split_is_kept_and_validation_comes_out_of_train(food101: Path) -> None:
    products = load_labelled([Path(f"food101:{food101}")], FOODS)
    assert (products.split[60:] == TEST).all() and TEST not in products.split[:60]
    assert 0 < (products.split == VALIDATION).sum() < (products.split == TRAIN).sum()


def test_a_published_validation_split_is_all_there_is(tmp_path: Path) -> None:
    lines = "".join(f"shirt {n},{'valid' if n < 3 else 'train'},red\n" for n in range(100))
    (tmp_path / "a.csv").write_text(f"title,part,color\n{lines}")
    description = "table: a.csv\ndescription: null\nimage_path: null\nsplit: part\n"
    (tmp_path / "a.yaml").write_text(description + "labels: {color: color}")
    split = load_labelled([Path(f"table:{tmp_path}/a.yaml")], {"color": ("red",)}).split
    assert split.tolist() == [VALIDATION] * 3 + [TRAIN] * 97


def test_labels_come_from_the_data_where_the_configuration_says_so(food101: Path) -> None:
    read = read_catalogs([Path(f"food101:{food101}")])
    assert with_labels_of(read, {"class": ()}) == FOODS
    kept = {"class": ("beet salad",), "color": ("red", "blue")}
    assert with_labels_of(read, kept) == kept
    given = {"color": ("red",)}
    assert with_labels_of(read, {"class": ()} | given) == FOODS | given


def test_a_label_that_only_the_test_split_has_is_none(fashion_gen: Path) -> None:
    read = read_catalogs([Path(f"fashion_gen:{fashion_gen}")])
    attributes = with_labels_of(read, {"category": ()})
    assert attributes == {"category": ("BAGS & LUGGAGE", "SHIRTS")}
    products = join_catalogs(read, attributes)
    assert products.targets[:, 0].tolist() == [1, 1, 0, 0, UNLABELLED]


def test_an_attribute_without_labels_in_the_data_is_refused(food101: Path) -> None:
    read = read_catalogs([Path(f"food101:{food101}")])
    with pytest.raises(ConfigError, match=r"0 of 'color'; wanted.*The data labels class"):
        with_labels_of(read, {"class": (), "color": ()})


def test_an_optional_attribute_without_labels_is_left_out_if_another_is_there(
    food101: Path,
) -> None:
    read = read_catalogs([Path(f"food101:{food101}")])
    assert with_labels_of(read, {"class": (), "color": ()}, ["color"]) == FOODS
    with pytest.raises(ConfigError, match="0 of 'size'"):
        with_labels_of(read, {"class": (), "color": (), "size": ()}, ["color"])
    with pytest.raises(ConfigError, match="0 of 'color'"):
        with_labels_of(read, {"color": ()}, ["color"])


def test_rows_know_which_catalog_they_are_of(catalog: Path, food101: Path) -> None:
    ours = len(read_labelled(catalog))
    products = load_labelled([catalog, Path(f"food101:{food101}")], FOODS)
    assert products.catalog.tolist() == [0] * ours + [1] * 70
    assert np.unique(products.image_roots).tolist() == sorted([str(catalog), str(food101)])


@pytest.mark.parametrize("name", ["training_food101.yaml", "training_fashion_gen.yaml"])
def test_the_shipped_configurations_ask_the_data_for_their_labels(name: str) -> None:
    config = load_yaml(CONF / name, TrainingConfig)
    assert config.attributes and not any(config.attributes.values())


def test_food101_is_trained_into_a_checkpoint_of_its_own_classes(
    tmp_path: Path, food101: Path, clip_folder: Path
) -> None:
    shipped = load_yaml(CONF / "training_food101.yaml", TrainingConfig)
    changes: dict[str, Any] = {
        "towers": str(clip_folder),
        "text_length": 16,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "phases": (Phase(loss="multitask", epochs=1, learning_rate=1e-3),),
    }
    catalog = Path(f"food101:{food101}")
    metrics = train_checkpoint(shipped.model_copy(update=changes), [catalog], tmp_path / "made")
    assert metrics is not None
    assert read_manifest(tmp_path / "made").config.attributes == FOODS
    assert metrics["test_groups_UPMC_Food101"]["as is"]["class"]["rows"] == 10
    again = load_yaml(tmp_path / "made" / "training.yaml", TrainingConfig)
    assert again.attributes == FOODS
