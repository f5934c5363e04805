"""Labels by people, from a file into the tables and out again, as users do it."""

from datetime import UTC, datetime

import pandas as pd
import pytest
from job_script import load_job, run_job

from enrich.spark.session import in_utc
from enrich.spark.tables import Tables
from schemas.labels import RESERVED

# Without the session of the tests a job opens the one of this machine's own tables.
pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark")]


@pytest.fixture(scope="module")
def created(spark):
    """A database as the main job makes it, for a checkpoint of other attributes."""
    Tables(spark, "corrected", ("color", "style", "material")).create_missing()
    yield "corrected"
    spark.sql("DROP DATABASE IF EXISTS corrected CASCADE")


@pytest.fixture
def database(spark, created):
    """That database, without a correction."""
    spark.sql(f"DELETE FROM {created}.attribute_corrections")
    return created


def export(*flags):
    return run_job(load_job("export_corrections"), *flags)


def test_export_leaves_an_existing_file_as_it_is(tmp_path, capsys):
    kept = tmp_path / "labels.csv"
    kept.write_text("product_id,color\n7,Red\n")
    assert export("--output", kept, "--database", "gone") == 2
    assert "exists already" in capsys.readouterr().err
    assert kept.read_text() == "product_id,color\n7,Red\n"


def test_imported_labels_are_exported_as_they_were_and_importing_again_changes_nothing(
    run, spark, database, tmp_path
):
    given = tmp_path / "labels.csv"
    given.write_text("product_id,color,style,note\n7,Red,,yes\n008,,smart casual,no\n9,,,no\n")
    flags = ("--file", given, "--by", "ana", "--database", database)

    first, again = run(*flags), run(*flags)
    out = tmp_path / "out.csv"
    exported = export("--output", out, "--database", database)

    assert (first[0], again[0], exported) == (0, 0, 0)
    assert "color and style of 2 products; 2 labels are new" in first[1]
    assert "The next run publishes those of products that are in its product table" in first[1]
    assert "2 products; 0 labels are new" in again[1]
    assert "2 of these products have no row in corrected.product_attributes yet" in first[2]
    assert "'008', '7'" in first[2]
    labels = pd.read_csv(out, dtype=str).set_index("product_id")
    assert labels.loc["7", "color"] == "red"
    assert labels.loc["008", "style"] == "smart casual"
    assert labels["pattern"].isna().all()
    published = spark.table("corrected.product_attributes").columns
    assert "pattern" not in published, "a checkpoint's attributes come with its first run"


def test_labels_that_an_export_leaves_out_are_told(database, spark, tmp_path, capsys):
    for label, told in (("red", 0), ("ultraviolet", 1), ("blue", 0)):
        spark.sql(
            f"INSERT INTO {database}.attribute_corrections VALUES "
            f"('7', 'color', '{label}', 'ana', current_timestamp(), NULL)"
        )
        assert export("--output", tmp_path / f"{label}.csv", "--database", database) == 0
        said = capsys.readouterr()
        assert "1 products" in said.out
        assert said.err.count("1 corrections are left out") == told


def test_ids_like_a_spreadsheets_formulas_come_back_as_they_were(run, database, tmp_path):
    given, csv, parquet = (tmp_path / name for name in ("l.parquet", "out.csv", "out.parquet"))
    pd.DataFrame({"product_id": ["=1+1", "'-2", "3"], "color": "red"}).to_parquet(given)
    assert run("--file", given, "--by", "ana", "--database", database)[0] == 0

    assert export("--output", csv, "--database", database) == 0
    assert export("--output", parquet, "--database", database) == 0
    _, said, _ = run("--file", csv, "--by", "ana", "--database", database)

    assert "of 3 products; 0 labels are new" in said
    assert sorted(pd.read_csv(csv)["product_id"]) == ["''-2", "'=1+1", "3"]
    assert sorted(pd.read_parquet(parquet)["product_id"]) == ["'-2", "3", "=1+1"]


def test_labels_of_a_review_count_from_when_and_by_whom_they_were_given(
    run, spark, database, tmp_path
):
    review, later = tmp_path / "review.csv", tmp_path / "later.csv"
    review.write_text(
        "product_id,attribute,label,by,at\n"
        "7,color,other,ana,2026-11-24T09:30:00Z\n"
        "7,style,not_applicable,,2026-11-24T09:31:00Z\n"
    )
    later.write_text("product_id,color\n7,red\n")
    assert run("--file", review, "--database", database)[0] == 2, "nobody gave the second"

    first = run("--file", review, "--by", "ben", "--database", database)
    run("--file", later, "--by", "cleo", "--database", database)
    again = run("--file", review, "--by", "ben", "--database", database)

    assert "2 labels are new" in first[1] and "0 labels are new" in again[1]
    assert "1 labels are left out: later corrections have replaced them" in again[2]
    rows = spark.table(f"{database}.attribute_corrections").orderBy("corrected_at").collect()
    assert [(row["label"], row["corrected_by"]) for row in rows] == [
        ("other", "ana"),
        ("not_applicable", "ben"),
        ("red", "cleo"),
    ]
    assert in_utc(rows[0]["corrected_at"]) == datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("red", "gone.attribute_corrections is missing"),
        ("ultraviolet", "'ultraviolet' (1 rows), expected one of beige, black"),
    ],
)
def test_a_database_that_is_not_there_is_not_made_for_corrections(
    run, tmp_path, spark, label, message
):
    given = tmp_path / "labels.csv"
    given.write_text(f"product_id,color\n7,{label}\n")
    code, _, error = run("--file", given, "--by", "ana", "--database", "gone")
    assert code == 2 and message in " ".join(error.split())
    assert not spark.catalog.databaseExists("gone")


def test_exporting_from_a_database_without_corrections_says_what_is_missing(tmp_path, capsys):
    assert export("--output", tmp_path / "out.csv", "--database", "gone") == 2
    assert "gone.attribute_corrections is missing" in " ".join(capsys.readouterr().err.split())


def test_a_shop_s_own_names_are_exported_as_the_checkpoint_s_labels():
    given = ["gray", "GRAY", "blue", "Blue", "red", "dark", *RESERVED]
    labels = pd.DataFrame({"product_id": [*"12345678"], "color": given})
    attributes = {
        "color": ("grey", "blue", "turquoise", "red", "multi", "black", "navy", "teal", "tan")
    }
    names = {"grey": "gray", "turquoise": "blue", "multi": None, "black": "dark", "navy": "dark"}
    own = {"color": names | {"teal": "Blue", "tan": "Other"}}
    named, ambiguous = load_job("export_corrections").name_as_checkpoint(labels, attributes, own)
    # Blue keeps its name, and turquoise becomes it.
    meant = ["grey", "grey", "blue", "teal", "red", ""]
    assert named["color"].fillna("").tolist() == [*meant, *RESERVED]
    assert ambiguous == 1 and named["product_id"].tolist() == [*"12345678"]
