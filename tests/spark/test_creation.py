"""Output tables: what they refuse, and how those of an older version are brought up to date."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_shop import Shop, products
from long_tests import is_long
from older_tables import create_old
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession

from enrich.errors import ConfigError
from enrich.fake_engine import FakeEngineSpec
from enrich.records import Status
from enrich.spark.rollback import roll_back
from enrich.spark.tables import creation
from enrich.spark.tables.creation import create_table
from enrich.spark.tables.maintenance import maintain_tables
from enrich.spark.tables.output_tables import open_published
from schemas.quoting import quote_part
from schemas.views import views

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not is_long(), reason="a dozen databases: make test-faults"),
]

TABLES = ("product_attributes", "staged_attributes", "enrichment_runs", "label_quality")


def folder_of(shop: Shop, table: str) -> Path:
    return Path(shop.tables.location().removeprefix("file:")) / table


def refresh_with(shop: Shop, attributes: dict[str, tuple[str, ...]], version: str) -> None:
    shop.refresh(spec=FakeEngineSpec(version, attributes))


WRONG = {
    "confidence above 1": ("product_attributes", "color_confidence = 1.5"),
    "confidence below 0": ("staged_attributes", "pattern_confidence = -0.1"),
    "confidence that is no number": ("product_attributes", "color_confidence = double('NaN')"),
    "unknown status": ("product_attributes", "status = 'fine'"),
    "unknown status of a staged row": ("staged_attributes", "status = ''"),
    "unknown modalities": ("staged_attributes", "modalities = 'text+image'"),
    "no modalities": ("product_attributes", "modalities = NULL"),
    "unknown outcome": ("enrichment_runs", "outcome = 'done'"),
    "unknown outcome of a check": ("label_quality", "outcome = 'failed'"),
}


@pytest.fixture(scope="module")
def refreshed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(spark, tmp_path_factory.mktemp("shop"), "checked")
    shop.write(products())
    shop.refresh()
    yield shop
    spark.sql("DROP DATABASE checked CASCADE")


@pytest.mark.parametrize("wrong", WRONG)
def test_tables_refuse_what_no_run_may_write(refreshed: Shop, wrong: str) -> None:
    table, value = WRONG[wrong]
    with pytest.raises(Exception, match=r"DELTA_(VIOLATE_CONSTRAINT|NOT_NULL_CONSTRAINT)"):
        refreshed.sql(f"UPDATE shop.{table} SET {value}")


def test_every_known_status_and_a_missing_answer_are_accepted(refreshed: Shop) -> None:
    for status in Status:
        values = f"status = '{status}', modalities = NULL, color_confidence = NULL"
        done = refreshed.sql(f"UPDATE shop.staged_attributes SET {values} WHERE product_id = 'p0'")
        assert done["num_affected_rows"][0] == 1


def test_a_run_on_tables_that_are_as_they_should_be_changes_no_definition(shop: Shop) -> None:
    shop.tables.create_missing()
    before = {table: shop.version(table) for table in TABLES}

    shop.tables.create_missing()

    assert {table: shop.version(table) for table in TABLES} == before


def test_an_older_table_gets_columns_and_constraints_and_the_log_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    create_old(shop)
    with caplog.at_level(logging.INFO):
        shop.refresh()

    assert f"{shop.database}.product_attributes: added columns product_category" in caplog.text
    assert "constraint color_confidence_in_0_1" in caplog.text
    rows = shop.table("product_attributes").set_index("product_id")
    assert len(rows) == 7 and rows.loc["old", "color"] == "red"
    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT"):
        shop.sql("UPDATE shop.product_attributes SET status = 'fine'")
    version = shop.version("product_attributes")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        shop.tables.create_missing()
    assert "constraint" not in caplog.text and shop.version("product_attributes") == version


def test_rows_that_violate_a_constraint_are_reported_and_stop_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    create_old(shop, status="by hand")

    shop.refresh()

    assert "no constraint status_known, some rows violate it" in caplog.text
    assert len(shop.table("product_attributes")) == 7


def test_a_status_that_a_new_version_knows_is_accepted_by_an_older_table(shop: Shop) -> None:
    shop.tables.create_missing()
    name = "shop.product_attributes"
    shop.sql(f"ALTER TABLE {name} DROP CONSTRAINT status_known")
    shop.sql(f"ALTER TABLE {name} ADD CONSTRAINT status_known CHECK (status IN ('gone'))")
    shop.sql(f"ALTER TABLE {name} ALTER COLUMN status COMMENT 'one of gone'")

    assert shop.refresh().outcome == "published"


def test_new_attributes_are_checked_and_readers_of_old_columns_go_on(shop: Shop) -> None:
    shop.refresh()
    shop.sql("CREATE VIEW shop.theirs AS SELECT product_id, pattern FROM shop.product_attributes")
    refresh_with(shop, {"color": ("red",), "fit": ("slim", "wide")}, "fake-wide")

    # The checkpoint that answered last says nothing of patterns.
    theirs = shop.table("theirs")
    assert len(theirs) == 6 and theirs["pattern"].isna().all()
    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT"):
        shop.sql("UPDATE shop.product_attributes SET fit_confidence = 2")
    long = shop.sql("SELECT DISTINCT attribute FROM shop.product_attribute_values")
    assert set(long["attribute"]) == {"color", "fit"}


def test_views_are_made_anew_with_a_published_table_that_was_dropped(shop: Shop) -> None:
    shop.refresh()
    for version in ("fake-2", "fake-3"):
        shop.refresh(model_version=version)
    shop.tables.keep_changes_since(shop.version("product_attributes"))
    shop.tables.create_views()
    shop.sql("DROP TABLE shop.product_attributes")

    refresh_with(shop, {"color": ("red",)}, "fake-narrow")

    assert shop.tables.changes_since() == 0
    for view in views(shop.database, (), 0):
        shop.table(view)
    assert set(shop.table("attribute_changes")["run_id"]) == set(
        shop.table("product_attributes")["run_id"]
    )


def comment_of(shop: Shop, table: str, column: str) -> str:
    return shop.sql(f"DESCRIBE shop.{table}").set_index("col_name").loc[column, "comment"]


def test_words_of_an_older_version_about_a_column_give_way_once(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.tables.create_missing()
    wanted = comment_of(shop, "quarantine", "reason")
    older = "null_id, duplicate_id or no_modality"
    shop.sql(f"ALTER TABLE shop.quarantine ALTER COLUMN reason COMMENT '{older}'")

    with caplog.at_level(logging.INFO):
        shop.tables.create_missing()

    assert comment_of(shop, "quarantine", "reason") == wanted != older
    assert f"{shop.database}.quarantine: comment of reason: {wanted}" in caplog.text
    version = shop.version("quarantine")
    shop.tables.create_missing()
    assert shop.version("quarantine") == version


def test_an_update_makes_the_views_of_an_older_version_anew(shop: Shop) -> None:
    shop.tables.create_missing()
    wanted = shop.spark.read.table(f"{shop.database}.attribute_changes").columns
    shop.sql("CREATE OR REPLACE VIEW shop.attribute_changes AS SELECT 1 AS older")
    older = "calibrated probability of the best color, in [0, 1]"
    shop.sql(f"ALTER TABLE shop.product_attributes ALTER COLUMN color_confidence COMMENT '{older}'")

    shop.tables.create_missing()

    assert shop.spark.read.table(f"{shop.database}.attribute_changes").columns == wanted


ODD = ("said", "label", "attribute", "old", "new", "select", "title", "text", "answer", "state")


def test_attributes_may_be_called_as_anything_that_the_job_uses_inside(shop: Shop) -> None:
    attributes = dict.fromkeys(ODD, ("one", "two"))
    refresh_with(shop, attributes, "fake-odd")
    shop.write(products().assign(title="another"))
    refresh_with(shop, attributes, "fake-odder")

    assert set(shop.table("product_attribute_values")["attribute"]) == set(ODD)
    assert set(shop.table("attribute_changes")["attribute"]) == set(ODD)
    for view in ("low_confidence_values", "category_coverage", "quality_history"):
        assert shop.table(view) is not None


def test_columns_that_somebody_named_strangely_break_no_view(shop: Shop) -> None:
    shop.refresh()
    strange = ("it's", "a`b", "back\\slash", "x') FROM shop.quarantine --")
    added = ", ".join(
        f"{quote_part(c)} STRING, {quote_part(c + '_confidence')} DOUBLE" for c in strange
    )
    properties = "'delta.columnMapping.mode' = 'name'"
    shop.sql(f"ALTER TABLE shop.product_attributes SET TBLPROPERTIES ({properties})")
    shop.sql(f"ALTER TABLE shop.product_attributes ADD COLUMNS ({added})")

    shop.tables.create_views()

    assert set(shop.table("product_attribute_values")["attribute"]) == {"color", "pattern"}


def add_columns(shop: Shop, columns: str) -> None:
    shop.sql(f"ALTER TABLE shop.product_attributes ADD COLUMNS ({columns})")


def test_columns_of_a_shop_s_own_keep_what_it_wrote_into_them(shop: Shop) -> None:
    shop.refresh()
    # The second pair looks as an attribute does; a column of the third name is staged as well.
    add_columns(shop, "note STRING, margin DOUBLE, margin_confidence DOUBLE, chunk INT")
    own = "note = 'checked by ana', margin = 0.4, margin_confidence = 1.0, chunk = 7"
    shop.sql(f"UPDATE shop.product_attributes SET {own}")
    shop.write(products(7).assign(title="another"))

    shop.refresh(run_id="later")
    maintain_tables(
        open_published(shop.spark, shop.database), retention_hours=720, keep_staged_days=30
    )

    rows = shop.table("product_attributes").set_index("product_id")
    assert set(rows["run_id"]) == {"later"} and rows.loc["p6", "note"] is None
    kept = rows.drop(index="p6")[["note", "margin", "margin_confidence", "chunk"]]
    assert set(kept.itertuples(index=False, name=None)) == {("checked by ana", 0.4, 1.0, 7)}
    assert set(shop.table("attribute_changes")["attribute"]) == {"color", "pattern"}
    roll_back(open_published(shop.spark, shop.database), "later", "a mistake")
    assert len(shop.table("product_attributes")) == 6


@pytest.mark.parametrize("column", ["Fit STRING", "fit DOUBLE"])
def test_an_attribute_called_as_a_column_of_a_shop_s_own_is_refused(
    shop: Shop, column: str
) -> None:
    shop.tables.create_missing()
    add_columns(shop, column)
    wide = {"color": ("red",), "fit": ("slim", "wide")}

    with pytest.raises(ConfigError, match=f"product_attributes has a column {column}, and .*ename"):
        refresh_with(shop, wide, "fake-wide")

    name = "shop.product_attributes"
    shop.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    shop.sql(f"ALTER TABLE {name} RENAME COLUMN fit TO theirs")
    refresh_with(shop, wide, "fake-wide")
    assert set(shop.table("product_attributes")["fit"]) <= {"slim", "wide", None}


def test_views_that_another_run_makes_at_the_same_moment_are_made_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.tables.create_missing()
    sql = SparkSession.sql

    def find_it_made_again(session: SparkSession, query: str) -> DataFrame:
        # Spark drops a view and creates it, and somebody else has created it in between.
        if query.startswith("CREATE OR REPLACE VIEW"):
            monkeypatch.setattr(SparkSession, "sql", sql)
            query = query.replace("OR REPLACE ", "")
        return sql(session, query)

    monkeypatch.setattr(SparkSession, "sql", find_it_made_again)

    shop.tables.create_views()

    assert shop.table("product_attribute_values").empty


def leave_temporary_file(folder: Path) -> None:
    (folder / "_delta_log" / "_staged_commits").mkdir(parents=True)
    file = folder / "_delta_log" / ".00000000000000000000.json.1234.tmp"
    file.write_text("{")
    os.utime(file, (0, 0))


def leave_empty_log(folder: Path) -> None:
    (folder / "_delta_log").mkdir(parents=True)


@pytest.mark.parametrize("leave", [leave_temporary_file, leave_empty_log])
def test_a_creation_that_was_cut_off_is_begun_again(
    shop: Shop, leave: Callable[[Path], None]
) -> None:
    shop.sql(f"CREATE DATABASE {shop.database}")
    folder = folder_of(shop, "quarantine")
    leave(folder)
    for one in (folder / "_delta_log", folder):
        os.utime(one, (0, 0))

    assert shop.refresh().outcome == "published"


def test_a_creation_that_another_process_has_just_begun_is_left_alone(shop: Shop) -> None:
    shop.sql(f"CREATE DATABASE {shop.database}")
    log_folder = folder_of(shop, "quarantine") / "_delta_log"
    log_folder.mkdir(parents=True)

    with pytest.raises(AnalysisException, match="NON_EMPTY_LOCATION"):
        create_table(shop.spark, shop.database, "quarantine", shop.tables.attributes)

    assert log_folder.exists()


def test_a_table_that_was_committed_and_not_registered_is_found_again(shop: Shop) -> None:
    shop.sql(f"CREATE DATABASE {shop.database} LOCATION '{shop.folder}/my shop %20'")
    shop.refresh()
    folder = folder_of(shop, "label_quality")
    shutil.copytree(folder, shop.folder / "kept")
    shop.sql("DROP TABLE shop.label_quality")
    shutil.copytree(shop.folder / "kept", folder, dirs_exist_ok=True)
    # Another process has not seen the table go.
    shop.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]

    shop.tables.create_missing()

    assert len(shop.table("label_quality")) == 1


def test_a_folder_with_files_of_somebody_else_is_left_alone(shop: Shop) -> None:
    shop.sql(f"CREATE DATABASE {shop.database}")
    folder = folder_of(shop, "quarantine")
    leave_temporary_file(folder)
    (folder / "theirs.parquet").write_text("x")

    with pytest.raises(PySparkException, match="NON_EMPTY_LOCATION"):
        shop.tables.create_missing()
    assert (folder / "theirs.parquet").exists()


def test_an_update_for_a_new_attribute_that_was_cut_off_is_begun_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh()
    wide = {"color": ("red",), "fit": ("slim", "wide")}
    name = "shop.product_attributes"
    # Stands behind the new columns, of which the last one says that the update is whole.
    shop.sql(f"ALTER TABLE {name} ALTER COLUMN predictions COMMENT 'older words'")

    def killed(*_: object) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(creation, "_update_checks", killed)
        refresh_with(shop, wide, "fake-wide")
    answers = [shop.tables.read(f"{kind}_attributes").columns for kind in ("staged", "product")]
    assert sum("fit" in columns for columns in answers) == 1
    refresh_with(shop, wide, "fake-wide")

    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT"):
        shop.sql("UPDATE shop.product_attributes SET fit_confidence = 2")
    assert comment_of(shop, "product_attributes", "predictions") != "older words"
    long = shop.sql("SELECT label FROM shop.product_attribute_values WHERE attribute = 'fit'")
    assert len(long) == 6 and long["label"].notna().any()
    version = shop.version("product_attributes")
    refresh_with(shop, wide, "fake-wide")
    assert shop.version("product_attributes") == version


def test_an_attribute_that_the_staged_table_lacks_is_null_in_what_is_answered_anew(
    shop: Shop,
) -> None:
    shop.refresh()
    shop.sql("DROP TABLE shop.staged_attributes")
    refresh_with(shop, {"color": ("red",)}, "fake-narrow")

    rows = shop.table("product_attributes")
    assert set(rows["model_version"]) == {"fake-narrow"}
    assert rows["pattern"].isna().all() and rows["pattern_confidence"].isna().all()


def test_a_table_of_somebody_else_is_refused_and_left_as_it_is(shop: Shop) -> None:
    shop.sql(f"CREATE DATABASE {shop.database}")
    shop.sql("CREATE TABLE shop.quarantine (patient STRING, since DATE) USING DELTA")
    with pytest.raises(ConfigError, match="quarantine is none of this job's tables"):
        shop.refresh()
    assert shop.tables.read("quarantine").columns == ["patient", "since"]
