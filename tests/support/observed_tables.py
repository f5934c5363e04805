"""What stands in a shop's tables, in the words of `expected_table`, and which answers it is of."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from expected_table import Answer, Corrections, Product, Row
from fake_shop import Shop

from enrich.config import ImageIdentity
from enrich.fake_engine import FakeEngine, FakeEngineSpec
from enrich.images.store import ImageStore
from enrich.records import Product as Asked
from enrich.spark.inference.udf import hash_content
from schemas.tables import select_attributes

_LABELS = FakeEngineSpec().attributes
# The fake is never so sure as the second one asks, and the last one answers one attribute more.
SPECS = {
    "fake-1-p90": FakeEngineSpec("fake-1-p90"),
    "fake-1-p95": FakeEngineSpec("fake-1-p95", threshold=0.9),
    "fake-2-p90": FakeEngineSpec("fake-2-p90"),
    "fake-3-p90": FakeEngineSpec("fake-3-p90", _LABELS | {"fit": ("slim", "wide")}),
}
TITLES = ("a red shirt", "one in blue", "green things", "a cup", "hat of straw", "sock")


def _content_hash(title: str) -> str:
    return hash_content(title, None, None, store=ImageStore("."), identity=ImageIdentity.CONTENT)


TITLE_OF = {_content_hash(title): title for title in TITLES}


def read_rows(shop: Shop) -> dict[str, Row]:
    """Returns the published rows, whose labels are those of their answers."""
    found = shop.spark.table(f"{shop.database}.product_attributes").collect()
    rows = {row["product_id"]: _as_row(row) for row in found}
    assert len(rows) == len(found)
    for row in found:
        found_labels = {name: row[name] for name in select_attributes(row.__fields__)}
        labels = _labels_of(rows[row["product_id"]].answer)
        assert found_labels == dict.fromkeys(found_labels) | labels
    return rows


def read_answers(
    shop: Shop, run_id: str, started_at: datetime, corrections_of: Callable[[str], Corrections]
) -> dict[str, Answer]:
    """Returns what a run has staged by an attempt, as it would be published now."""
    staged = shop.spark.table(f"{shop.database}.staged_attributes")
    found = staged.where(f"run_id = '{run_id}' AND modalities IS NOT NULL").collect()
    rows = [row for row in found if row["enriched_at"].astimezone(UTC) <= started_at]
    return {one["product_id"]: _as_answer(one, corrections_of(one["product_id"])) for one in rows}


def read_carried(shop: Shop, run_id: str) -> set[str]:
    """Returns the products whose published answer a run has carried over."""
    staged = shop.spark.table(f"{shop.database}.staged_attributes")
    found = staged.where(f"run_id = '{run_id}' AND is_carried").select("product_id").collect()
    return {row["product_id"] for row in found}


def read_ledger(shop: Shop) -> dict[str, dict[str, Any]]:
    """Returns the ledger's rows by run, the first one first."""
    rows = shop.spark.table(f"{shop.database}.enrichment_runs").collect()
    rows.sort(key=lambda row: row["started_at"])
    return {row["run_id"]: row.asDict(recursive=True) for row in rows}


def read_versions(shop: Shop) -> dict[str, int]:
    """Returns the versions of the tables that runs write."""
    tables = ("product_attributes", "staged_attributes", "quarantine", "enrichment_runs")
    return {table: shop.version(table) for table in tables}


def _as_row(row: Any) -> Row:
    said = tuple((c["attribute"], c["label"], c["corrected_by"]) for c in row["corrections"] or ())
    attempt = (row["run_date"], row["enriched_at"].astimezone(UTC))
    return Row(_as_answer(row, said), row["run_id"], attempt)


def _as_answer(row: Any, corrections: Corrections) -> Answer:
    product = Product(TITLE_OF[row["content_hash"]], row["product_category"])
    return Answer(product, row["model_version"], corrections)


def _labels_of(answer: Answer) -> dict[str, str | None]:
    engine = FakeEngine(SPECS[answer.model_version])
    said = next(engine.enrich([Asked("any", answer.product.title, None, None)]))
    labels = {one.attribute: None if one.abstained else one.label for one in said.predictions}
    return labels | {attribute: label for attribute, label, _ in answer.corrections}
