"""Wrong settings and labels stop a training before its first step."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from labelled import write_table

from enrich.errors import ConfigError
from enrich.settings_files import load_yaml
from enrich.training.config import TrainingConfig
from enrich.training.loop import Trainer
from enrich.training.preparation import read_training_products
from enrich.training.run import check_training, train_checkpoint
from schemas.labels import ATTRIBUTE_LABELS


def _refused(settings, output, *catalogs, **given):
    config = TrainingConfig.model_validate(settings)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConfigError) as error:
        patch.setattr(Trainer, "train", lambda trainer: pytest.fail("it trains"))
        train_checkpoint(config, [*catalogs], output, **given)
    return str(error.value)


def test_attributes_without_labels_are_refused_before_decoding(tmp_path, catalog, settings):
    attributes = {
        "color": ["rot", "blau"],
        "pattern": ATTRIBUTE_LABELS["pattern"],
        "size": ["small", "large"],
    }
    said = _refused(settings | {"attributes": attributes}, tmp_path / "made", catalog)
    assert "'color' lacks labels to train on and to validate with" in said
    assert re.search(r"found ('\w+', ){3}\.\.\., expected 'rot', 'blau'", said)
    assert "found none, expected 'small', 'large'" in said and "'pattern'" not in said
    assert not (tmp_path / "made.training" / "cache").exists()


@pytest.mark.parametrize("blocked", ["made", "made.training"])
def test_a_file_where_a_folder_is_to_be_written_is_refused_before_training(
    tmp_path, catalog, settings, blocked
):
    (tmp_path / blocked).write_text("mine")
    assert f"{tmp_path / blocked} cannot be written" in _refused(
        settings, tmp_path / "made", catalog
    )
    assert [file.name for file in tmp_path.iterdir()] == [blocked]


@pytest.mark.parametrize(
    ("output", "said"), [("/", "lacks a name"), ("/proc/no", "nothing can be")]
)
def test_an_output_that_cannot_be_written_is_refused_before_training(
    catalog, settings, output, said
):
    assert said in _refused(settings, Path(output), catalog)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, found -1"),
        ({"attributes": {"color": ["red", "red "]}}, "found"),
        ({"attributes": {"color": ["red"]}}, "found"),
        ({"attributes": {"color": ["red", " "]}}, "found"),
        ({"attributes": {"color": "from_date"}}, "found 'from_date'"),
        ({"attributes": {"color": ["red", "blue", "other"]}}, "found other, which stands for"),
        # Several settings together: not all of them are repeated.
        ({"drop_text": 0.6, "drop_image": 0.6}, "found 1.2 together, expected at most 1"),
    ],
)
def test_settings_that_make_no_training_are_a_message(tmp_path, settings, wrong, message):
    (tmp_path / "training.yaml").write_text("{}")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_yaml(tmp_path / "training.yaml", TrainingConfig, settings | wrong)


def test_a_catalog_that_fills_no_batch_is_found_out_by_a_check(tmp_path, catalog, settings):
    config = TrainingConfig.model_validate(settings | {"batch_size": 64})
    with pytest.raises(ConfigError, match="expected a batch of 64"):
        check_training(config, [catalog], tmp_path / "made", [])
    # Enough of all products, and not of one half of them.
    config = TrainingConfig.model_validate(settings | {"batch_size": 20, "accumulate": 1})
    check_training(config, [catalog], tmp_path / "made", [])
    with pytest.raises(ConfigError, match="expected a batch of 20"):
        check_training(config.model_copy(update={"half": 0}), [catalog], tmp_path / "made", [])


def test_catalogs_and_unseen_sources_have_own_names_and_share_no_product(
    tmp_path, catalog, settings
):
    made, other = tmp_path / "made", tmp_path / "elsewhere" / catalog.name
    other.parent.mkdir()
    other.symlink_to(catalog)
    said = _refused(settings, made, catalog, other)
    assert "more than one catalog is called catalog" in said
    said = _refused(settings, made, catalog, unseen_sources=[other, catalog])
    assert "more than one unseen source is called catalog" in said
    for shop in (catalog, other, Path(f"catalog:{catalog}/../catalog")):
        assert f"{shop} is not unseen" in _refused(settings, made, catalog, unseen_sources=[shop])


def test_an_unseen_source_without_any_label_is_refused_before_training(tmp_path, catalog, settings):
    shop = tmp_path / "shop"
    assert "shop" in _refused(settings, tmp_path / "made", catalog, unseen_sources=[shop])
    shutil.copytree(catalog, shop)
    labels = pd.read_parquet(shop / "labels.parquet")
    labels = labels.drop(columns=[*ATTRIBUTE_LABELS]).assign(size="small")
    labels.to_parquet(shop / "labels.parquet")
    said = _refused(settings, tmp_path / "made", catalog, unseen_sources=[shop])
    assert f"{shop} is not labelled" in said
    with pytest.raises(ConfigError, match="is not labelled"):
        check_training(
            TrainingConfig.model_validate(settings), [catalog], tmp_path / "made", [shop]
        )


Checked = Callable[..., str]


@pytest.fixture
def checked(tmp_path, settings, capsys):
    """Return a function that checks a table of colors and says what is told of it."""

    def write(name, colors, to_test):
        """Write the colors in each split; to test, those that are given for it."""
        shown = {"train": [*colors] * 6, "valid": colors, "test": to_test}
        lines = [
            f"{name} {part} {row},{color},wide,{part}"
            for part, column in shown.items()
            for row, color in enumerate(column)
        ]
        csv, labels = "\n".join(["title,color,fit,part", *lines]), {"color": "color", "fit": "fit"}
        return write_table(tmp_path, csv, name, split="part", labels=labels)

    def checked(*colors, to_test=(), unseen=(), **attributes):
        config = TrainingConfig.model_validate(
            settings | {"attributes": attributes or {"color": "from_data"}}
        )
        sources = [write("unseen", unseen, ())] if unseen else []
        shop = write("shop", colors, to_test or colors)
        check_training(config, [shop], tmp_path / "made", sources)
        return " ".join(capsys.readouterr().err.split())

    return checked


def test_what_processes_share_are_parts_of_the_batch_too(catalog, settings, monkeypatch):
    monkeypatch.setattr("enrich.training.preparation.processes", lambda: 2)
    config = TrainingConfig.model_validate(settings | {"accumulate": 2})
    assert read_training_products(config, [catalog])[0].accumulate == 4
    config = TrainingConfig.model_validate(settings | {"accumulate": 3})
    with pytest.raises(
        ConfigError, match=r"found 8 products for 6 parts \(accumulate times 2 process"
    ):
        read_training_products(config, [catalog])


def test_an_optional_attribute_that_is_none_is_told(catalog, settings, capsys):
    config = TrainingConfig.model_validate(settings | {"optional_attributes": ["colour", "style"]})
    read_training_products(config, [catalog])
    assert "optional_attributes that attributes lacks: colour\n" in capsys.readouterr().err


def test_tests_without_labels_are_refused_or_told(checked):
    with pytest.raises(ConfigError, match="found 0 labels"):
        checked("red", "blue", to_test=["", ""])
    said = checked("red", "blue", to_test=["", ""], color="from_data", fit=["wide", "slim"])
    assert "color: 0 products to test have a label" in said
    assert "fit: 0 products to test" not in said
