"""The views and every example of docs/tables.md, on a shop with two days of history."""

import os
import re
import shutil
import time
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from shop import Shop, products

from schemas import tables as ddl
from schemas.views import views

TABLES = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
CATEGORIES = {"columns": {"category": "department"}}
DELETE = {"missing_products": "delete", "max_deleted_share": 0.5}


def statements():
    """Returns the page's SQL; `shop` is its database, and `pattern` what the fake engine knows."""
    blocks = re.findall(r"```sql\n(.*?)```", TABLES, re.DOTALL)
    text = "\n".join(line for b in blocks for line in b.splitlines() if not line.startswith("--"))
    spoken = text.replace("enriched.", "shop.").replace("pattern, style", "pattern")
    return [one.strip() for one in spoken.replace("style", "pattern").split(";") if one.strip()]


def run_of(shop, trigger):
    runs = shop.sql(f"SELECT run_id FROM shop.enrichment_runs WHERE trigger = '{trigger}'")
    return str(runs["run_id"].item())


def statement(begin):
    (found,) = (one for one in statements() if one.startswith(begin))
    return found


@pytest.fixture(scope="module")
def history(spark, tmp_path_factory):
    """Twelve products; on the second day one has a new title, and a person corrects another."""
    shop = Shop(spark, tmp_path_factory.mktemp("two_days"), "two_days")
    table = products(12).assign(department=["shirts"] * 8 + ["bags"] * 4)
    # A row that is revised has no reason for the status of its picture.
    table.loc[11, "image_path"] = "p11.jpg"
    shop.write(table)
    shop.refresh(config=CATEGORIES, trigger="first")
    table.loc[0, "title"] = "a red shirt"
    shop.write(table)
    abstained = shop.sql(
        "SELECT product_id FROM shop.low_confidence_values WHERE attribute='color'"
    )
    first = abstained.loc[abstained["product_id"] != "p0", "product_id"].min()
    shop.correct(first, "color", "green")
    shop.refresh(config=CATEGORIES, trigger="second", run_date=date(2026, 11, 25))
    yield shop
    spark.sql("DROP DATABASE two_days CASCADE")


def test_long_view_has_one_row_a_product_and_attribute_with_people_s_labels(history):
    long = history.table("product_attribute_values")
    wide = history.table("product_attributes").set_index("product_id")

    assert len(long) == 24
    for row in long.itertuples():
        label = wide.loc[row.product_id, row.attribute]
        assert row.label == label or (row.label is None and label is None)
    corrected = long[long["is_corrected"]].iloc[0]
    assert (corrected["label"], corrected["abstained"]) == ("green", True)


def test_taxonomies_have_ids_of_labels_that_they_know(history):
    known = history.table("taxonomy_values")
    labels = history.table("product_attribute_values")["label"].notna()
    assert len(known) == labels.sum()
    green = known[(known["attribute"] == "color") & (known["label"] == "green")].iloc[0]
    assert green["shopify_attribute_id"] == "gid://shopify/TaxonomyAttribute/1"
    assert green["shopify_value_id"] == "gid://shopify/TaxonomyValue/9"
    assert (green["shopify_handle"], green["google_color_family"]) == ("color__green", "Green")


def test_low_confidence_view_lists_what_nobody_has_labelled_yet(history):
    low = history.table("low_confidence_values")
    long = history.table("product_attribute_values")

    wanted = long[long["abstained"] & ~long["is_corrected"]]
    assert len(wanted) > 0
    assert set(low["product_id"] + low["attribute"]) == set(
        wanted["product_id"] + wanted["attribute"]
    )


def publish_twice(shop):
    """Change a product by the second run, add one, and delete one."""
    shop.refresh(trigger="first")
    table = products(7).drop(5)
    table.loc[0, "title"] = "a red shirt"
    shop.write(table)
    shop.refresh(config=DELETE, trigger="second")


@pytest.fixture
def two_runs(open_shop):
    return open_shop(publish_twice)


def test_the_page_asks_what_one_run_changed_added_and_deleted(two_runs):
    counted = two_runs.sql(statement("SELECT _change_type, count"))
    assert counted.set_index("_change_type")["products"].to_dict() == {
        "update_postimage": 1,
        "insert": 1,
        "delete": 1,
    }


def test_the_page_asks_which_labels_one_run_changed(two_runs):
    changed = two_runs.sql(statement("SELECT product_id, max(color)")).set_index("product_id")
    now = two_runs.table("product_attributes").set_index("product_id")["color"].dropna()
    before = two_runs.sql("SELECT * FROM shop.product_attributes VERSION AS OF 1")
    before = before.set_index("product_id")["color"].dropna()
    labels = pd.DataFrame({"old_color": before, "new_color": now}).fillna("-")
    wanted = labels[labels["old_color"] != labels["new_color"]]
    found = changed.sort_index().fillna("-")
    assert len(wanted) > 0
    pd.testing.assert_frame_equal(found, wanted.sort_index(), check_dtype=False)


def test_an_index_that_follows_the_page_s_query_holds_what_is_published(two_runs):
    shop = two_runs
    query = statement("SELECT product_id, published.run_id IS NULL")
    first = shop.sql("SELECT * FROM shop.product_attributes VERSION AS OF 1")
    index = dict(zip(first["product_id"], first["color"], strict=True))
    since = 1

    def follow():
        nonlocal since
        seen, since = since, shop.version("product_attributes")
        spoken = query.replace(", 1, 2)", f", {seen}, {since})")
        for row in shop.sql(spoken.replace("AS OF 2", f"AS OF {since}")).itertuples():
            index.pop(row.product_id, None)
            if not row.is_gone:
                index[row.product_id] = row.color
        now = shop.table("product_attributes")
        assert index == dict(zip(now["product_id"], now["color"], strict=True))

    follow()
    shop.roll_back(run_of(shop, "second"))
    follow()
    assert "p5" in index and "p6" not in index
    shop.approve(run_of(shop, "second"), "it was right")
    follow()
    assert "p5" not in index and "p6" in index
    follow()


def test_the_page_counts_labels_by_category(history):
    coverage = history.sql(statement("SELECT product_category, attribute, count(*)"))
    coverage = coverage.set_index(["product_category", "attribute"])
    wide = history.table("product_attributes")

    bags = wide[wide["product_category"] == "bags"]
    assert coverage.loc[("bags", "color"), "products"] == 4
    assert coverage.loc[("bags", "color"), "labelled"] == bags["color"].notna().sum()


def test_every_sql_example_of_the_page_runs(history, tmp_path):
    catalog = products(12).rename(columns={"product_id": "sku"})
    catalog.to_csv(tmp_path / "products.csv", index=False)
    places = {"'labels_csv'": "labels", "'shop/products.csv'": "products.csv"}
    assert len(statements()) >= 20
    for one in statements():
        for written, place in places.items():
            one = one.replace(written, f"'{tmp_path / place}'")
        history.sql(one)
    history.spark.catalog.dropTempView("products_now")

    (file,) = (tmp_path / "labels").glob("*.csv")
    written = pd.read_csv(file).sort_values("product_id", ignore_index=True)
    wide = history.table("product_attributes").sort_values("product_id", ignore_index=True)
    wanted = wide[["product_id", "color", "pattern"]]
    pd.testing.assert_frame_equal(written.fillna("-"), wanted.fillna("-"), check_dtype=False)


def test_the_page_asks_what_people_set_and_what_waits_to_be_published(published_shop):
    shop = published_shop
    for values in (
        "('p0', 'color', 'blue', 'ana', timestamp'2026-11-01', NULL)",
        "('p0', ' Color', 'RED ', 'ana', timestamp'2026-11-02', NULL)",
        "('p1', 'pattern', NULL, 'ana', timestamp'2026-11-02', NULL)",
    ):
        shop.sql(f"INSERT INTO shop.attribute_corrections VALUES {values}")
    set_before = statement("SELECT product_id, inline(corrections)")
    waiting = statement("SELECT product_id, lower(trim(attribute))")

    wait = {
        (row.product_id, row.attribute, row.said["label"], row.said["corrected_by"])
        for row in shop.sql(waiting).itertuples()
    }
    assert wait == {("p0", "color", "red", "ana"), ("p1", "pattern", None, "ana")}
    assert shop.sql(set_before).empty
    shop.refresh()
    assert shop.sql(waiting).empty
    assert set(shop.sql(set_before).itertuples(index=False, name=None)) == wait
    shop.sql("DELETE FROM shop.attribute_corrections WHERE product_id = 'p0'")
    set_now, as_published = waiting.split("EXCEPT")
    assert len(shop.sql(f"{as_published} EXCEPT {set_now}")) == 1


def test_the_page_names_vanished_products_and_those_without_a_picture(history, tmp_path):
    catalog = products(4).rename(columns={"product_id": "sku"})
    catalog.loc[1, "title"] = 'two lines,\n"in quotes"'
    catalog.to_csv(tmp_path / "products.csv", index=False)

    of_file = f"'{tmp_path}/products.csv'"
    history.sql(statement("CREATE OR REPLACE TEMP").replace("'shop/products.csv'", of_file))
    vanished = history.sql(statement("SELECT product_id, run_date"))
    history.spark.catalog.dropTempView("products_now")
    unseen = history.sql(statement("SELECT product_id, published.status")).set_index("product_id")

    assert set(vanished["product_id"]) == {f"p{number}" for number in range(4, 12)}
    assert set(unseen.index) == {f"p{number}" for number in range(11)}
    assert unseen["error"].str.len().gt(0).all()


def test_the_page_s_duckdb_example_reads_the_published_table(history, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", TABLES, re.DOTALL)
    detail = history.sql("DESCRIBE DETAIL shop.product_attributes")
    location = detail.loc[0, "location"].removeprefix("file:")
    written = "lakehouse/warehouse/enriched.db/product_attributes"
    assert written in example

    exec(compile(example.replace(written, location), "docs/tables.md", "exec"), {})

    wide = history.table("product_attributes")
    printed = capsys.readouterr().out
    for color, count in wide["color"].dropna().value_counts().items():
        assert re.search(rf"{color}\W+{count}\b", printed)


def test_every_table_reads_the_same_from_delta_rs_and_duckdb(history):
    import duckdb
    from deltalake import DeltaTable

    for table in ddl.tables(("color",)):
        location = history.sql(f"DESCRIBE DETAIL shop.{table}").loc[0, "location"]
        read = DeltaTable(location.removeprefix("file:")).to_pyarrow_table()
        rows = duckdb.sql("SELECT count(*) FROM read").fetchall()[0][0]
        assert (rows, read.column_names) == (
            len(history.table(table)),
            history.spark.read.table(f"two_days.{table}").columns,
        )


def test_every_column_of_every_table_and_view_says_what_it_is(history):
    for table in (*ddl.tables(("color",)), *views("any", ("color",))):
        described = history.sql(f"DESCRIBE shop.{table}")
        columns = described[~described["col_name"].str.startswith("#")]
        assert columns["comment"].str.len().gt(0).all(), table


def test_maintenance_leaves_change_data_as_long_as_it_was_told_and_runs_go_on(history):
    rows = history.table("product_attributes").sort_values("product_id", ignore_index=True)
    folder = Path(history.tables.database_folder().removeprefix("file:"))
    old = [*folder.glob("*/_change_data/*.parquet")]
    young = [Path(shutil.copy(file, file.with_name(f"young-{file.name}"))) for file in old]
    for files, days in ((old, 40), (young, 9)):
        for file in files:
            os.utime(file, (time.time() - days * 86_400,) * 2)
    done = history.maintain(retention_hours=720, keep_candidates_days=0)

    assert old and not any(file.exists() for file in old)
    assert all(file.exists() for file in young)
    assert done["files_before"]["run_events"] > done["files_after"]["run_events"] == 1
    # They say what a rollback holds back, as long as one can reach back.
    assert done["runs_removed"] == 0
    left = history.table("product_attributes").sort_values("product_id", ignore_index=True)
    pd.testing.assert_frame_equal(left, rows)
    third = history.refresh(config=CATEGORIES, run_date=date(2026, 11, 26))
    assert third.outcome == "nothing_to_do"


def test_a_title_is_called_wrong_where_the_answer_is_much_likelier(spark):
    rows = [
        ("likely", "red", "blue", 0.6, [("blue", 0.3)]),
        ("unlikely", "red", "blue", 0.6, [("green", 0.2), ("blue", 0.1)]),
        ("unheard of", "red", "blue", 0.6, [("green", 0.3)]),
        ("agrees", "red", "red", 0.6, []),
        ("silent", "red", None, 0.6, []),
        ("a shoe", "red", "blue", 0.6, []),
    ]
    schema = (
        "product_id string, candidate string, named string, confidence double, "
        "alternatives array<struct<label: string, confidence: double>>"
    )
    values = spark.createDataFrame(rows, schema).selectExpr(
        "*", "'shirts' product_category", "'color' attribute", "0.5 image_weight",
        "product_id = 'unheard of' abstained",
        "if(product_id = 'a shoe', 'not_applicable', null) abstention",
        "false is_corrected", "'r' run_id", "DATE'2026-11-24' run_date",
    )  # fmt: skip
    spark.sql("CREATE DATABASE contradicted")
    try:
        values.write.saveAsTable("contradicted.product_attribute_values")
        profiles = "contradicted.source_profiles"
        spark.sql(f"CREATE TABLE {profiles} (is_unseen BOOLEAN, looked_at TIMESTAMP) USING delta")
        query = views("contradicted", ["color"])["contradictions"]
        spark.sql(f"CREATE VIEW contradicted.contradictions {query}")
        found = spark.table("contradicted.contradictions").toPandas()
        spark.sql(f"INSERT INTO {profiles} VALUES (true, current_timestamp())")
        unseen = spark.table("contradicted.contradictions").toPandas()
    finally:
        spark.sql("DROP DATABASE contradicted CASCADE")
    assert found["product_id"].tolist() == ["unheard of", "unlikely", "likely"]
    assert found["named_confidence"].tolist() == [0, 0.1, 0.3]
    assert found["probably_wrong"].tolist() == ["title", "title", "answer"]
    assert unseen["probably_wrong"].tolist() == ["unclear", "title", "answer"]
