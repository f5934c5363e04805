"""Labels by people, from a file into the tables and out again, as users do it."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from enrich.command_line import run_command
from enrich.spark.tables import OutputTables

pytestmark = pytest.mark.spark

Run = Callable[..., tuple[int, str, str]]
JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def database(spark: SparkSession) -> Iterator[str]:
    """A database as the main job makes it, for a checkpoint of other attributes."""
    OutputTables(spark, "corrected", ("color", "style", "material")).create_missing()
    yield "corrected"
    spark.sql("DROP DATABASE IF EXISTS corrected CASCADE")


def export(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    spec = importlib.util.spec_from_file_location("export", JOBS / "export_corrections.py")
    assert spec and spec.loader
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    monkeypatch.setattr(sys, "argv", ["export_corrections.py", *flags])
    with pytest.raises(SystemExit) as end:
        run_command(job.main)
    return int(end.value.code or 0)


def test_imported_labels_are_exported_as_they_were_and_importing_again_changes_nothing(
    run: Run, spark: SparkSession, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "labels.csv"
    given.write_text("product_id,color,style,seen\n7,Red,,yes\n008,,smart casual,no\n9,,,no\n")
    flags = ("--file", given, "--by", "ana", "--database", database)

    first, again = run(*flags), run(*flags)
    out = tmp_path / "out.csv"
    exported = export(monkeypatch, "--output", str(out), "--database", database)

    assert (first[0], again[0], exported) == (0, 0, 0)
    assert "color and style of 2 products; 2 labels are new" in first[1]
    assert "2 products; 0 labels are new" in again[1]
    labels = pd.read_csv(out, dtype=str).set_index("product_id")
    assert labels.loc["7", "color"] == "red"
    assert labels.loc["008", "style"] == "smart casual"
    assert labels["pattern"].isna().all()
    published = spark.table("corrected.product_attributes").columns
    assert "pattern" not in published, "a checkpoint's attributes come with its first run"


def test_a_database_that_is_not_there_is_not_made_for_corrections(
    run: Run, tmp_path: Path, spark: SparkSession
) -> None:
    given = tmp_path / "labels.csv"
    given.write_text("product_id,color\n7,red\n")
    code, _, error = run("--file", given, "--by", "ana", "--database", "corected")
    assert code == 2 and "there is no table corected.attribute_corrections" in error
    assert not spark.catalog.databaseExists("corected")


def test_label_unknown_to_the_checkpoint_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path, spark: SparkSession
) -> None:
    given = tmp_path / "labels.csv"
    given.write_text("product_id,color\n7,ultraviolet\n")

    code, _, error = run("--file", given, "--by", "ana", "--database", "gone")

    assert code == 2
    assert "no color 'ultraviolet' (1 rows); wanted: beige, black" in error
    assert not spark.catalog.databaseExists("gone")


def test_exporting_from_a_database_without_corrections_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code = export(monkeypatch, "--output", str(tmp_path / "out.csv"), "--database", "gone")

    assert code == 2
    assert "there is no table gone.attribute_corrections" in capsys.readouterr().err
