"""Audits: blind draws of published answers, people's labels, and certificates.

A draw is stored with what was published at that moment, so labels that come later, after other
runs, judge the answers that were drawn. Corrected products are never drawn: thresholds may be
fitted to corrections, and people correct doubtful answers more often than others.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.labels import AuditedLabel
from schemas.tables import State, quote_part
from schemas.views import SHIFT

from enrich.calibration import DEFAULT_TARGET_PRECISION
from enrich.certificates import (
    CONFIDENCE,
    FEWEST_LABELS,
    Certificate,
    Stage,
    certify,
    name_answers,
    state,
)
from enrich.config import DEMO_CATALOG
from enrich.errors import ConfigError, name_some
from enrich.files.labels import KEY
from enrich.spark.diff import read_texts
from enrich.spark.runs import read_event, read_runs
from enrich.spark.session import in_utc
from enrich.spark.source import Source
from enrich.spark.tables import Tables, now

# What a file of drawn products shows to people beside the columns of `enrich.files.labels`.
SHOWN = ("title", "image_path")
# Answers to draw of each attribute.
DEFAULT_COUNT = 120
_ANSWERS, _CERTIFICATES = "audit_answers", "audit_certificates"


@dataclass(frozen=True, slots=True)
class Draw:
    """Drawn answers: `rows` for the file, and two counts by attribute.

    `not_drawn` are the answers that the draw could have taken and did not. `stored` are rows of
    `audit_answers`, for `record_draw`.
    """

    audit_id: str
    rows: pd.DataFrame
    stored: list[dict[str, Any]]
    drawn: Mapping[str, int]
    not_drawn: Mapping[str, int]


def find_source(tables: Tables, catalog: str, run_id: str | None = None) -> str:
    """Return the product table of the settings, or that of a run if they name none.

    Args:
        tables: the output tables.
        catalog: the settings' product table.
        run_id: the run; None for the newest published one.

    Raises:
        ConfigError: there is no such run, or none has published anything.
    """
    if catalog != DEMO_CATALOG:
        return catalog
    return str((read_event(tables, run_id) if run_id else _read_newest(tables))["source"])


def draw(tables: Tables, source: Source, count: int) -> Draw:
    """Draw published answers at random.

    Write `Draw.rows` to a file and then call `record_draw`: what is recorded is not drawn again.

    Drawn are answers of the newest published model_version, whose product is in the product table,
    has no correction, and was not drawn before. All attributes are drawn in one order of products,
    so that a picture is looked at once.

    Args:
        source: the product table.
        count: answers of each attribute.

    Raises:
        ConfigError: no answer is left to draw.
    """
    newest = _read_newest(tables)
    audit_id, version = f"audit-{secrets.token_hex(4)}", newest["model_version"]
    answers = _select_drawable(tables, source.products, version)
    found = {r["attribute"]: r["count"] for r in answers.groupBy("attribute").count().collect()}
    if not found:
        raise ConfigError(
            f"{tables.name('product_attributes')} has no answers left to draw: found 0 of "
            f"{version} that are of a product in {source.name}, uncorrected, and not drawn "
            "before. Label the answers that were drawn, or name the catalog that was enriched."
        )
    # By a hash, an order that has nothing to do with what products are, and that stays on a retry.
    order = _draw_order(F.lit(audit_id))
    place = F.row_number().over(Window.partitionBy("attribute").orderBy(order, "product_id"))
    drawn = answers.withColumn("order", order).withColumn("place", place)
    rows = [row.asDict() for row in drawn.where(F.col("place") <= count).collect()]
    rows.sort(key=lambda row: (row["order"], row["product_id"], row["attribute"]))
    common = {"audit_id": audit_id, "source": source.name, "drawn_at": now()}
    stored = [row | common | {"drawn_from": found[row["attribute"]]} for row in rows]
    texts = read_texts(source.products, {row["product_id"] for row in rows})
    shown = [{name: row[name] for name in KEY} | texts[row["product_id"]] for row in rows]
    counts = {a: min(count, number) for a, number in sorted(found.items())}
    return Draw(
        audit_id,
        pd.DataFrame(shown, columns=[*KEY, *SHOWN]).assign(label=""),
        stored,
        counts,
        {a: found[a] - number for a, number in counts.items()},
    )


def record_draw(tables: Tables, drawn: Draw) -> None:
    """Append a draw to `audit_answers`."""
    tables.append(_ANSWERS, tables.to_rows(_ANSWERS, drawn.stored), drawn.audit_id)


def _draw_order(audit_id: Column) -> Column:
    return F.xxhash64(audit_id, F.col("product_id"))


def _read_newest(tables: Tables) -> dict[str, Any]:
    published = [run for run in read_runs(tables) if run.state == State.PUBLISHED]
    if not published:
        raise ConfigError(
            f"{tables.name('product_attributes')} has no answers: found 0 published runs. "
            "Run `catalog-enrich enrich` first."
        )
    return read_event(tables, max(published, key=lambda run: run.attempt).run_id)


def _select_drawable(tables: Tables, products: DataFrame, version: str) -> DataFrame:
    """Return the answers that may be drawn, one row an attribute; lazy."""
    rows = tables.read("product_attributes").where(F.col("model_version") == version)
    rows = rows.where(F.col("corrections").isNull())
    rows = rows.join(tables.read("attribute_corrections"), "product_id", "left_anti")
    rows = rows.join(products, "product_id", "left_semi")
    pairs = [
        F.struct(F.lit(a).alias("attribute"), F.col(quote_part(a)).alias("published_label"))
        for a in tables.attributes
    ]
    said = F.filter(F.array(*pairs), lambda one: one["published_label"].isNotNull())
    columns = ("product_id", "product_category", "model_version", "run_id")
    answers = rows.select(*columns, F.inline(said))
    # What was labelled for an earlier checkpoint may have been what this one was fitted to.
    is_known = F.col("label").isNotNull() | (F.col("model_version") == version)
    return answers.join(tables.read(_ANSWERS).where(is_known), KEY, "left_anti")


@dataclass(frozen=True, slots=True)
class RecordedLabels:
    """Counts of recorded labels, and of answers of their draws without a label.

    Of the `unlabelled` ones `skipped` lie before a labelled one. `certificates` are rows of the
    view `certificates`: all that are about whole attributes and were labelled by the file.
    """

    new: int
    unlabelled: int
    skipped: int
    certificates: list[dict[str, Any]]


def record_labels(tables: Tables, labels: pd.DataFrame) -> RecordedLabels:
    """Append people's labels to `audit_answers`, and proofs to `audit_certificates`.

    Recorded again, the same labels change nothing. A label goes to the last draw of its product
    and attribute. Proofs count draws after the last shift that was published.

    Args:
        labels: what `enrich.files.labels.read_labels` returns.

    Raises:
        ConfigError: a product was not drawn.
    """
    known = _read_answers(tables)
    last = known.sort_values("drawn_at").drop_duplicates(KEY, keep="last")
    given = labels.merge(last.rename(columns={"label": "old_label"}), "left", on=KEY)
    if (strange := given[given["audit_id"].isna()]).size:
        named = name_some(strange["product_id"] + " " + strange["attribute"])
        raise ConfigError(
            f"{tables.name(_ANSWERS)} has no draw of some products: found {named} "
            f"({len(strange)} rows), expected products that `catalog-enrich audit` has drawn. "
            "Remove their rows."
        )
    of_file = given["audit_id"].unique()
    labelled = given[given["label"].notna()]
    new = labelled[labelled["label"] != labelled["old_label"]]
    taken_at = now()
    if len(new):
        at = new["at"].fillna(pd.Timestamp(taken_at))
        rows = new.assign(labelled_by=new["by"], labelled_at=at, taken_at=taken_at)
        stored = tables.to_rows(_ANSWERS, _as_records(rows))
        tables.append(_ANSWERS, stored, str(of_file[-1]))
        known = _read_answers(tables)
        changed = set(zip(new["model_version"], new["attribute"], strict=True))
        counted = _select_since_shifts(tables, known)
        made = [
            row
            for key, group in counted.groupby(["model_version", "attribute"])
            if key in changed
            for row in make_certificates(group, taken_at)
        ]
        tables.append(_CERTIFICATES, tables.to_rows(_CERTIFICATES, made), str(of_file[-1]))
    drawn = known[known["audit_id"].isin(of_file)]
    about = set(zip(drawn["model_version"], drawn["attribute"], strict=True))
    found = read_certificates(tables)
    return RecordedLabels(
        len(new),
        int(drawn["label"].isna().sum()),
        int(_mark_skipped(drawn)["is_skipped"].sum()),
        [one for one in found if (one["model_version"], one["attribute"]) in about],
    )


def _select_since_shifts(tables: Tables, answers: pd.DataFrame) -> pd.DataFrame:
    """Return answers drawn after the last published shift of their attribute."""
    runs = tables.read("enrichment_runs").where("outcome = 'published'")
    failed = tables.read("label_quality").where(SHIFT).select("run_id", "attribute")
    shifts = failed.join(runs.select("run_id", "finished_at"), "run_id").groupBy("attribute")
    # A check of all attributes has none.
    last = {one[0]: in_utc(one[1]) for one in shifts.agg(F.max("finished_at")).collect()}
    is_since = [
        all(drawn_at > last[of] for of in (attribute, None) if of in last)
        for attribute, drawn_at in zip(answers["attribute"], answers["drawn_at"], strict=True)
    ]
    return answers[is_since]


def _as_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def read_certificates(tables: Tables) -> list[dict[str, Any]]:
    """Return rows of the view `certificates` about whole attributes, the newest last."""
    if not tables.exists(_CERTIFICATES) or tables.read(_CERTIFICATES).isEmpty():
        return []
    whole = tables.read("certificates").where("label IS NULL AND category IS NULL")
    rows = whole.orderBy("attribute", "made_at").collect()
    return [{name: in_utc(value) for name, value in row.asDict().items()} for row in rows]


def read_audited_labels(tables: Tables, model_version: str) -> list[AuditedLabel]:
    """Return the counts of judged answers of each published label of a model_version."""
    if not tables.exists(_ANSWERS):
        return []
    answers = _read_answers(tables).query("model_version == @model_version and label.notna()")
    is_right = answers["label"] == answers["published_label"]
    counts = is_right.groupby([answers["attribute"], answers["published_label"]]).agg(
        ["size", "sum"]
    )
    target = target_of(model_version)
    return [
        AuditedLabel(attribute, label, int(labels), int(right), target)
        for (attribute, label), labels, right in counts.itertuples()
    ]


def _read_answers(tables: Tables) -> pd.DataFrame:
    """Return the drawn answers with their last label and the time of the first one."""
    answers = tables.read(_ANSWERS).withColumn("order", _draw_order(F.col("audit_id")))
    columns = answers.columns
    rows = [[in_utc(value) for value in row] for row in answers.collect()]
    table = pd.DataFrame(rows, columns=columns)
    for name in ("drawn_at", "labelled_at", "taken_at"):
        table[name] = pd.to_datetime(table[name], utc=True)
    table = table.sort_values("taken_at", na_position="first", kind="stable")
    one = table.groupby(["audit_id", *KEY], sort=False)
    # `last` and `first` skip what is missing.
    last = one[[c for c in columns if c not in ("audit_id", *KEY)]].last()
    return last.assign(counted_at=one["taken_at"].first()).reset_index()


def make_certificates(answers: pd.DataFrame, made_at: datetime) -> Iterator[dict[str, Any]]:
    """Yield rows of `audit_certificates` for one attribute and model_version.

    One is about all answers; others are about a label or a category that has FEWEST_LABELS.
    Skipped answers count as wrong: people skip what is hard to tell.

    Args:
        answers: rows of `audit_answers`, one an answer, with its `order` in the draw, its last
            label, and `counted_at`, when its first one was taken in; NULL where there is none.
        made_at: now.
    """
    answers = _mark_skipped(answers)
    draws = answers.groupby("audit_id")["drawn_from"].agg(["max", "size"])
    draws = draws.loc[answers.sort_values("drawn_at")["audit_id"].unique()]
    # A draw chose from what the draws before it had left, and the catalog may have grown.
    population = int((draws["max"] + draws["size"].cumsum() - draws["size"]).max())
    yield from _certify_part(answers, made_at, population)
    for column, name in (("published_label", "label"), ("product_category", "category")):
        labelled = answers[answers["label"].notna()]
        counts = labelled[column].value_counts()
        for part in sorted(counts[counts >= FEWEST_LABELS].index):
            for row in _certify_part(answers[answers[column] == part], made_at, None):
                words = f"{row['statement']} ({name} {part})"
                yield row | {name: part, "statement": words}


def _mark_skipped(answers: pd.DataFrame) -> pd.DataFrame:
    """Return answers with `is_skipped`, a column.

    A skipped answer has no label, and a later answer of its draw has one. It is counted when the
    first label after it was taken in.
    """
    # Backwards: the earliest time at which any later answer of the draw had a label.
    last_first = answers.sort_values(["order", "product_id"], ascending=False)
    draws = last_first.groupby(["audit_id", "attribute"], sort=False)["counted_at"]
    passed = draws.cummin().groupby([last_first["audit_id"], last_first["attribute"]]).ffill()
    passed = passed.reindex(answers.index)
    is_skipped = answers["label"].isna() & passed.notna()
    counted_at = answers["counted_at"].mask(is_skipped, passed)
    return answers.assign(is_skipped=is_skipped, counted_at=counted_at)


def _certify_part(
    answers: pd.DataFrame, made_at: datetime, population: int | None
) -> Iterator[dict[str, Any]]:
    labelled = answers[answers["label"].notna()]
    if labelled.empty:
        return
    version, attribute = answers["model_version"].iloc[0], answers["attribute"].iloc[0]
    stages = list(split_stages(answers))
    made = certify(stages, target_of(version), population)
    first, last = labelled["labelled_at"].min(), labelled["labelled_at"].max()
    statement = state(made, name_answers(attribute), first, last)
    if skipped := int(answers["is_skipped"].sum()):
        statement += f"; of these, {skipped:,} were skipped and count as wrong"
    yield {
        "audit_id": labelled.sort_values("drawn_at")["audit_id"].iloc[-1],
        "attribute": attribute,
        "model_version": version,
        "confidence": CONFIDENCE,
        "drawn_at": labelled["drawn_at"].max(),
        "labelled_from": first,
        "labelled_to": last,
        "made_at": made_at,
        "statement": statement,
        **_as_columns(made),
    }


def _as_columns(made: Certificate) -> dict[str, Any]:
    same = ("drawn", "labels", "observed", "bound", "target", "more_labels")
    return {name: getattr(made, name) for name in same} | {"right_labels": made.right}


def split_stages(answers: pd.DataFrame) -> Iterator[Stage]:
    """Yield the labels of draws in the order in which they came.

    A stage begins with the first label of a draw, or of several at once. A later label of an
    earlier draw belongs to the stage in which it came.
    """
    began = answers.groupby("audit_id")["counted_at"].min().dropna()
    drawn = answers["audit_id"].map(began)
    right = answers["label"] == answers["published_label"]
    starts = sorted(began.unique())
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        came = answers["counted_at"] >= start
        if end is not None:
            came &= answers["counted_at"] < end
        yield Stage(int((drawn == start).sum()), int(came.sum()), int((came & right).sum()))


def target_of(model_version: str) -> float:
    """Return the target precision at the end of a model_version, else the default."""
    found = re.search(r"-p(\d\d)(-[0-9a-f]+)?$", model_version)
    return int(found[1]) / 100 if found else DEFAULT_TARGET_PRECISION
