"""People's labels: over the classifier's, through re-enrichment, and out again.

Three tests go on from one published shop, and each refreshes it again.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from commit_hook import CommitHook
from fake_shop import DAY, Shop, fails, passes, products
from long_tests import in_full
from pyspark.sql import SparkSession

from enrich.fake_engine import FakeEngineSpec
from enrich.files.corrections import read_correction_file
from enrich.spark.correction_jobs import read_last_labels, record_corrections
from enrich.spark.corrections import count_unknown
from enrich.spark.records import RunSummary, StagedRows
from enrich.training.readers.catalog_folder import read_catalog_folder
from schemas.verdict import Verdict

pytestmark = pytest.mark.spark

LABELS = FakeEngineSpec().attributes
LENIENT = FakeEngineSpec("fake-1-p90")
# The fake is never so sure.
STRICT = FakeEngineSpec("fake-1-p95", threshold=0.9)


class Corrected(NamedTuple):
    """A shop, and the summary of its run that published what people say of six products."""

    shop: Shop
    summary: RunSummary


@pytest.fixture(scope="module")
def corrected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrected]:
    shop = Shop(spark, tmp_path_factory.mktemp("shop"), "corrected")
    shop.write(products())
    shop.tables.create_missing()
    correct(shop, p0="red", p1="blue")
    correct(shop, p0="green")
    later = "current_timestamp() + INTERVAL 1 HOUR"
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        f"('p1', 'color', 'crimson', 'ben', {later}, NULL), "
        "('p2', 'Color', ' RED\u00a0', 'ana', current_timestamp(), NULL), "
        "('p3', 'pattern\u2003', 'Solid', 'ana', current_timestamp(), NULL), "
        "('p4', 'color', 'red ish', 'ana', current_timestamp(), NULL), "
        "('p5', 'colour', 'red', 'ana', current_timestamp(), NULL)"
    )
    yield Corrected(shop, shop.refresh(spec=LENIENT))
    spark.sql("DROP DATABASE corrected CASCADE")


@pytest.fixture(scope="module")
def shop_of_tables(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose tables are there, and in which nothing has run."""
    shop = Shop(spark, tmp_path_factory.mktemp("shop"), "shop_of_tables")
    shop.tables.create_missing()
    yield shop
    spark.sql("DROP DATABASE shop_of_tables CASCADE")


@pytest.fixture
def created(shop_of_tables: Shop) -> Shop:
    """A shop in which nothing has run, and nobody has corrected anything."""
    shop_of_tables.sql("DELETE FROM shop.attribute_corrections")
    return shop_of_tables


def correct(shop: Shop, **labels: str) -> int:
    rows = pd.DataFrame({"product_id": labels.keys(), "color": labels.values(), "pattern": None})
    return record_corrections(shop.tables, rows, LABELS, "ana", note=None)


def colors(shop: Shop) -> dict[str, str | None]:
    return shop.table("product_attributes").set_index("product_id")["color"].to_dict()


@in_full
def test_correction_wins_survives_a_new_model_and_leaves_no_trace_when_withdrawn(
    shop: Shop,
) -> None:
    shop.refresh()
    said = colors(shop)
    wrong = next(p for p, color in said.items() if color not in (None, "green"))
    correct(shop, **{wrong: "green"})

    applied = shop.refresh()
    assert (applied.outcome, applied.counts["carried"], applied.counts["published"]) == (
        "published",
        1,
        1,
    )
    assert applied.engine_loads == {}
    assert colors(shop) == {**said, wrong: "green"}
    row = shop.table("product_attributes").set_index("product_id").loc[wrong]
    assert [(c["attribute"], c["corrected_by"]) for c in row["corrections"]] == [("color", "ana")]
    assert shop.refresh().outcome == "nothing_to_do"

    shop.refresh(model_version="fake-2")
    assert colors(shop) == {**said, wrong: "green"}

    shop.sql("DELETE FROM shop.attribute_corrections")
    shop.refresh(model_version="fake-2")
    assert colors(shop) == said
    assert shop.table("product_attributes")["corrections"].isna().all()


def test_the_same_correction_is_not_recorded_twice(created: Shop) -> None:
    recorded = [
        correct(created, p0="red", p1="blue"),
        correct(created, p0="red"),
        correct(created, p0="green"),
    ]

    assert recorded == [2, 0, 1]
    assert len(created.table("attribute_corrections")) == 3


def test_a_correction_counts_from_its_import_though_one_stands_that_is_dated_ahead(
    created: Shop,
) -> None:
    # As the local time of a shop in the east is, where the session's is UTC.
    ahead = "current_timestamp() + INTERVAL 9 HOURS"
    created.sql(
        f"""INSERT INTO shop.attribute_corrections VALUES
        ('p0', 'Color', 'red', 'ana', {ahead}, NULL),
        ('p1', 'color', 'red', 'ana', {ahead}, NULL)"""
    )

    assert [correct(created, p0="blue", p1="red", p2="red") for _ in range(2)] == [2, 0]

    last = read_last_labels(created.tables, LABELS).toPandas().set_index("product_id")
    assert last["color"].to_dict() == {"p0": "blue", "p1": "red", "p2": "red"}


def test_a_correction_that_another_spelling_has_overruled_is_recorded_again(created: Shop) -> None:
    correct(created, p0="red")
    created.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p0', 'Color', ' Blue', 'ana', current_timestamp(), NULL)"
    )

    assert correct(created, p0="blue") == 0
    assert correct(created, p0="red") == 1

    last = read_last_labels(created.tables, LABELS).toPandas()
    assert last["color"].tolist() == ["red"]


def test_a_correction_puts_right_a_later_one_that_the_checkpoint_does_not_know(
    created: Shop,
) -> None:
    correct(created, p0="red", p1="red")
    # A slip, dated ahead too, and a label of another checkpoint's, in a spelling of its attribute.
    created.sql(
        """INSERT INTO shop.attribute_corrections VALUES
        ('p0', 'color', 'redd', 'ana', current_timestamp() + INTERVAL 9 HOURS, NULL),
        ('p1', 'Color', 'navy', 'ana', current_timestamp(), NULL)"""
    )
    assert count_unknown(created.tables.read("attribute_corrections"), LABELS) == 2

    assert [correct(created, p0="red", p1="red") for _ in range(2)] == [2, 0]

    assert count_unknown(created.tables.read("attribute_corrections"), LABELS) == 0
    knows_navy = LABELS | {"color": (*LABELS["color"], "navy")}
    last = read_last_labels(created.tables, knows_navy).toPandas()
    assert last["color"].tolist() == ["red", "red"]


@in_full
def test_a_run_of_corrections_that_died_after_its_merge_comes_to_its_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh()
    correct(shop, p0="green")
    with CommitHook(monkeypatch).killed_after("publish"):
        shop.refresh(fails)

    assert shop.refresh(fails).outcome == "published"
    assert colors(shop)["p0"] == "green"


@in_full
def test_correction_to_no_label_publishes_null_and_unknown_labels_are_told(shop: Shop) -> None:
    shop.tables.create_missing()
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p0', 'color', NULL, 'ana', current_timestamp(), 'a mirror'), "
        "('p1', 'color', 'ultraviolet', 'ana', current_timestamp(), NULL)"
    )

    staged, summary = shop.refresh(publish=False), shop.refresh()

    rows = shop.table("product_attributes").set_index("product_id")
    assert rows.loc["p0", "color"] is None
    assert rows.loc["p0", "corrections"][0]["label"] is None
    assert rows.loc["p1", "corrections"] is None
    for told in (staged, summary):
        assert "1 corrections name an attribute or a label" in told.validation["notes"][0]


def test_a_label_that_is_none_does_not_take_back_one_that_was_given_before(created: Shop) -> None:
    correct(created, p0="red")
    created.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p0', 'color', 'crimson', 'ben', current_timestamp() + INTERVAL 1 HOUR, NULL)"
    )

    last = read_last_labels(created.tables, LABELS).toPandas()
    assert last["color"].tolist() == ["red"]


def test_the_last_label_that_is_one_is_published_in_the_spelling_of_the_checkpoint(
    corrected: Corrected,
) -> None:
    shop, summary = corrected

    rows = shop.table("product_attributes").set_index("product_id").sort_index()
    assert rows.loc["p0":"p2", "color"].tolist() == ["green", "blue", "red"]
    assert rows.loc["p3", "pattern"] == "solid"
    assert [(c["attribute"], c["label"]) for c in rows.loc["p2", "corrections"]] == [
        ("color", "red")
    ]
    assert rows.loc["p4":, "corrections"].isna().all()
    assert summary.validation["notes"][0].startswith("3 corrections name")
    for day in (DAY, DAY + timedelta(days=1)):
        quiet = shop.refresh(spec=LENIENT, run_date=day)
        assert (quiet.outcome, quiet.validation["notes"]) == (
            "nothing_to_do",
            summary.validation["notes"],
        )


def test_what_people_correct_is_not_judged_again_but_what_is_new_beside_it_is(
    corrected: Corrected,
) -> None:
    shop, _ = corrected
    shop.write(products(7))
    correct(shop, p0="blue", p5="blue")
    judged = []

    def validate(staged: StagedRows) -> Verdict:
        judged.append((staged.expected, [row["product_id"] for row in staged.rows.collect()]))
        return passes(staged)

    counts = shop.refresh(validate, spec=LENIENT).counts

    assert judged == [(1, ["p6"])]
    assert (counts["carried"], counts["enriched"], counts["published"]) == (2, 3, 3)


def test_another_target_precision_chooses_labels_anew_and_answers_and_people_s_labels_stay(
    corrected: Corrected,
) -> None:
    shop, _ = corrected
    lenient = shop.table("product_attributes").set_index("product_id")
    assert lenient["pattern"].notna().any() and lenient["pattern"].isna().any()

    strict = shop.refresh(spec=STRICT)

    counts, every = strict.counts, len(lenient)
    assert (strict.outcome, strict.engine_loads) == ("published", {})
    assert (counts["pending"], counts["carried"], counts["published"]) == (every, every, every)
    assert counts["abstained"] == dict.fromkeys(LABELS, every)
    rows = shop.table("product_attributes").set_index("product_id").loc[lenient.index]
    assert set(rows["model_version"]) == {"fake-1-p95"}
    assert all(one["abstained"] for one in rows["predictions"].explode())
    assert rows["color_confidence"].equals(lenient["color_confidence"])
    assert rows["corrections"].tolist() == lenient["corrections"].tolist()
    for attribute in LABELS:
        by_people = [
            attribute in {one["attribute"] for one in given or ()}
            for given in lenient["corrections"]
        ]
        assert rows[attribute].dropna().to_dict() == lenient.loc[by_people, attribute].to_dict()


def test_labels_that_differ_in_capitals_alone_are_told_apart(created: Shop) -> None:
    correct(created, p0="Red", p1="red", p2="RED")
    last = read_last_labels(created.tables, {"color": ("red", "Red")}).toPandas()
    assert dict(zip(last["product_id"], last["color"], strict=True)) == {"p0": "Red", "p1": "red"}


def test_an_attribute_may_be_called_as_a_column_of_the_corrections(created: Shop) -> None:
    given = pd.DataFrame({"product_id": ["p0", "p1"], "label": ["long", None], "attribute": "b"})
    attributes = {"label": ("long",), "attribute": ("b",)}
    assert record_corrections(created.tables, given, attributes, "ana", note=None) == 3
    written = created.table("attribute_corrections")
    found = set(zip(written["product_id"], written["attribute"], written["label"], strict=True))
    assert found == {("p0", "label", "long"), ("p0", "attribute", "b"), ("p1", "attribute", "b")}


def test_exported_corrections_are_what_adapting_and_training_read(
    created: Shop, tmp_path: Path
) -> None:
    table = products()
    table.loc[1, "title"] = "<b>shirt</b> number 0"
    table.loc[2:3, "image_path"] = "azure.jpg"
    table.to_parquet(tmp_path / "products.parquet")
    correct(created, p0="red", p1="green", p2="blue", p3="red")

    exported = read_last_labels(created.tables, LABELS).toPandas()
    exported.to_csv(tmp_path / "corrected.csv", index=False)
    exported.to_parquet(tmp_path / "labels.parquet", index=False)

    read = read_correction_file(tmp_path / "corrected.csv", LABELS).set_index("product_id")
    assert read["color"].to_dict() == {"p0": "red", "p1": "green", "p2": "blue", "p3": "red"}
    assert read["pattern"].isna().all()
    learned = read_catalog_folder(tmp_path)
    assert learned.labels == {"color": ["red", "green", "blue", "red"], "pattern": [None] * 4}
    assert learned.groups == ["p0", "p0", "p2", "p2"]
