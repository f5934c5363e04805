from pathlib import Path

import pytest
from pydantic import ValidationError

from enrich.config import ColumnNames, JobConfig, is_too_much


@pytest.mark.parametrize("setting", ["catalog", "image_root", "checkpoint"])
def test_a_variable_that_was_not_set_is_no_place(setting):
    with pytest.raises(ValidationError, match="at least 1 character"):
        JobConfig.model_validate({setting: ""})


@pytest.mark.parametrize("setting", ["report_dir", "metrics_dir"])
def test_a_variable_that_was_not_set_is_no_folder(setting):
    with pytest.raises(ValidationError, match="found an empty text"):
        JobConfig.model_validate({setting: ""})


@pytest.mark.parametrize("column", ColumnNames.model_fields)
def test_a_column_without_a_name_is_none(column):
    with pytest.raises(ValidationError, match="at least 1 character"):
        JobConfig.model_validate({"columns": {column: ""}})


def test_a_table_of_which_no_column_is_read_is_refused():
    unread = dict.fromkeys(("title", "description", "image_path"))
    with pytest.raises(ValidationError, match="nothing to read"):
        ColumnNames.model_validate(unread)


@pytest.mark.parametrize("setting", ["report_dir", "metrics_dir"])
def test_a_folder_may_be_in_an_object_store_and_of_no_other_scheme(setting):
    config = JobConfig.model_validate({setting: "s3a://shop/pages/"})
    assert str(getattr(config, setting)) == "s3a://shop/pages"
    with pytest.raises(ValidationError, match="an address of s3://"):
        JobConfig.model_validate({setting: "hdfs://shop/pages"})


@pytest.mark.parametrize("setting", ["database", "encodings_database"])
def test_a_database_may_have_a_catalog_and_nothing_else(setting):
    assert JobConfig.model_validate({setting: "main.enriched"})
    for name in ("a.b.c", "main.", ".enriched", "main.`x`", "a b", "/data/tables"):
        with pytest.raises(ValidationError, match="expected a database's name"):
            JobConfig.model_validate({setting: name})


def test_what_is_written_for_people_starts_beside_the_settings_or_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/you")
    config = JobConfig.model_validate(
        {"report_dir": "~/pages", "metrics_dir": "metrics", "baseline": "~/shop.json"}
    )

    started = config.starting_from(Path("/conf"))

    assert started.report_dir == Path("/home/you/pages")
    assert started.metrics_dir == Path("/conf/metrics")
    assert started.baseline == Path("/home/you/shop.json")


def test_a_share_that_is_hit_exactly_is_allowed():
    # In floating point 0.29 * 200 is less than 58.
    assert not is_too_much(58, 200, 0.29)
    assert is_too_much(59, 200, 0.29)
    assert not is_too_much(199, 199, 0.29)
