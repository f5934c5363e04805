"""jobs/build_label_baseline.py: counts of published or staged answers become a reviewed file."""

import pytest
from shop import DAY

from enrich.spark import rules
from enrich.spark.runs import RunSummary, make_event
from enrich.spark.tables import Tables, now
from expectations.baseline import load_baseline
from expectations.counts import OTHER
from schemas.labels import ABSTAINED
from schemas.tables import State, tables

pytestmark = pytest.mark.spark

COLUMNS = (
    "product_id STRING, color STRING, color_confidence DOUBLE, modalities STRING, "
    "content_hash STRING, model_version STRING, run_id STRING, product_category STRING, "
    "fit STRING, fit_confidence DOUBLE, "
    "predictions ARRAY<STRUCT<attribute: STRING, label: STRING, abstained: BOOLEAN, "
    "abstention: STRING>>"
)


@pytest.fixture(scope="module")
def shop(spark):
    """Two versions of a published table, and a run that is staged only.

    Both have columns of an attribute that only an earlier classifier knew.
    """

    def rows(color, count, model="m1", category="shoes"):
        said = [("color", color or "red", color is None, None if color else "unsure")]
        return [
            (name, color, 0.5, "image", name, model, "run-1", category, None, None, said)
            for name in (f"{color}{n}" for n in range(count))
        ]

    def write(table, content, mode="append"):
        frame = spark.createDataFrame(content, COLUMNS).coalesce(1)
        frame.write.format("delta").mode(mode).saveAsTable(f"counted.{table}")

    spark.sql("CREATE DATABASE counted")
    write("product_attributes", rows("red", 6) + rows(None, 2))
    write("product_attributes", rows("blue", 12, category="hats"))
    # What a person says of a product is no answer of the classifier's.
    spark.sql("UPDATE counted.product_attributes SET color = 'mauve' WHERE product_id = 'blue3'")
    unanswered = [("gone", None, None, None, "h", "m2", "run-1", None, None, None, None)]
    write("candidates", [*rows("red", 3, "m2"), *unanswered])
    facts = dict.fromkeys(("source", "source_version", "encoder_version", "settings"), "")
    header = rules.Run(
        *("run-1", 0, State.STARTED, now(), "nightly", DAY, now(), True, False, "m2"),
        caused_by=None,
        published_version=None,
        **facts,
    )
    event = make_event(header, State.STAGED, RunSummary(), 1)
    spark.sql(f"CREATE TABLE counted.run_events ({tables(())['run_events']}) USING delta")
    counted = Tables(spark, "counted", ())
    counted.append("run_events", counted.to_rows("run_events", [event]), "run-1")
    yield spark
    spark.sql("DROP DATABASE counted CASCADE")


def flags(output, *more):
    return ["--database", "counted", "--output", output, *more]


def test_newest_version_is_counted_and_an_older_one_on_demand(shop, run, tmp_path):
    file = tmp_path / "shop.json"
    code, _, err = run(*flags(file))
    assert code == 0, err
    baseline = load_baseline(file)
    assert baseline.products.attributes.keys() == {"color"}
    assert baseline.products.attributes["color"].labels == {"blue": 12, "red": 6, ABSTAINED: 2}
    assert (baseline.source, baseline.model_version) == ("product_attributes, version 2", "m1")
    assert baseline.categories == {}
    assert baseline.catalog == "counted"

    code, _, err = run(*flags(file, "--version", 0))
    assert code == 0, err
    assert load_baseline(file).products.attributes["color"].labels == {"red": 6, ABSTAINED: 2}


def test_large_categories_are_told_apart(shop, job, run, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "MIN_CATEGORY_ROWS", 10)
    file = tmp_path / "shop.json"
    code, _, err = run(*flags(file))
    assert code == 0, err
    baseline = load_baseline(file)
    rows = {name: group.rows for name, group in baseline.categories.items()}
    assert rows == {"hats": 12, OTHER: 8}
    assert baseline.other_categories == ("shoes",)


@pytest.mark.parametrize("name", ["run-1", "nightly"])
def test_staged_run_is_counted_without_its_unanswered_rows(shop, run, tmp_path, name):
    file = tmp_path / "shop.json"
    code, _, err = run(*flags(file, "--run-id", name))
    assert code == 0, err
    baseline = load_baseline(file)
    assert baseline.products.rows == 3
    assert (baseline.source, baseline.model_version) == ("candidates, run run-1", "m2")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--run-id", "unknown"], "No run 'unknown'"),
        (["--version", 9], "has no version 9; its newest is 2"),
        (["--version", 0, "--run-id", "run-1"], "give one"),
        (["--database", "nowhere"], "nowhere.product_attributes is missing"),
    ],
)
def test_wrong_choice_exits_2_and_writes_nothing(shop, run, tmp_path, more, message):
    code, _, err = run(*flags(tmp_path / "shop.json", *more))
    assert code == 2
    assert message in err
    assert not (tmp_path / "shop.json").exists()
