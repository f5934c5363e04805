"""Dry run: a run's counts and expected time, without writing to any table."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.table import Table
from schemas.tables import BROKEN, DUE, TO_ANSWER, Outcome, State

from enrich.errors import tame
from enrich.logs import is_json
from enrich.spark.console import open_console, print_json_line
from enrich.spark.diff import sample_images
from enrich.spark.encode import encode_rows, is_worker_death, select_contents, select_holding
from enrich.spark.inputs import (
    Inputs,
    count_deletable,
    explain_truncation,
    refuse_demo_among_products,
)
from enrich.spark.profile import describe_profile, read_profile
from enrich.spark.progress import WorkByWorker
from enrich.spark.refresh import count_diff
from enrich.spark.rules import is_superseded
from enrich.spark.runs import read_runs
from enrich.spark.session import open_accumulator, tune_for_table_size
from enrich.spark.source import refuse_replaced
from enrich.unseen import SourceProfile

log = logging.getLogger(__name__)

_RUNS_READ = 50
# Contents of an unknown source that are encoded to predict the quality of its answers.
_SAMPLE = 500
# Counts that are unknown before the products are answered.
_UNKNOWN = ("answered", "published", "encoded", "reused", "images_opened", "abstained")

_REASONS = {
    "due": DUE,
    "quarantined": (*BROKEN, Outcome.QUARANTINED),
    "withheld": (Outcome.HELD_BACK,),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a run; becomes the last line on standard output.

    `counts` are as in a run's summary, and `reasons` says why products are due, quarantined or
    withheld. `to_encode` counts contents without a holding encoding. `images` is the `ImageSample`
    of new and changed products. `error` would block the run. `expected_seconds` is estimated from
    the run `expected_from`; both are None without such a run. `source_profile` is as in a run's
    summary: the source's own, or that of a sample that is encoded for the plan. `answered_share` is
    by attribute the share of that sample that would get a label, in [0, 1].
    """

    counts: dict[str, int]
    reasons: dict[str, dict[str, int]]
    to_encode: int
    images: dict[str, Any]
    error: str | None
    expected_seconds: float | None
    expected_from: dict[str, Any] | None
    seconds: dict[str, float]
    model_version: str
    source_profile: SourceProfile | None = None
    answered_share: dict[str, float] | None = None
    outcome: str = "dry_run"


def plan_refresh(inputs: Inputs) -> Plan:
    """Plan a refresh by one pass over the products, and small queries.

    For a source without a profile, a sample of its contents is encoded.

    Raises:
        NoAnswer: the product table was replaced meanwhile.
    """
    begin, tables = time.perf_counter(), inputs.tables
    profile = read_profile(tables, inputs.source.name, inputs.spec.encoder_version)
    inputs = inputs.with_profile(profile)
    published = tables.read_or_empty("product_attributes")
    tune_for_table_size(inputs.spark, inputs.source.products, published)
    runs = read_runs(tables)
    refuse_demo_among_products(inputs, runs)
    # "~" sorts after all run ids: the plan is newer than all runs of the same day.
    own = inputs.make_header("~")
    diff = inputs.diff(runs, own.attempt, inputs.choose_base(own, runs))
    try:
        is_new = F.col("outcome").isin(Outcome.NEW, Outcome.CHANGED)
        images = sample_images(inputs.store, diff.rows.where(is_new))
        to_encode = _count_to_encode(inputs, diff.rows) if diff.count(*TO_ANSWER) else 0
        diff_s = round(time.perf_counter() - begin, 2)
        answered_share = None
        if profile is None and to_encode:
            begin = time.perf_counter()
            profile, answered_share = _profile_sample(inputs, diff.rows)
            sample_s = round(time.perf_counter() - begin, 2)
    finally:
        diff.rows.unpersist()
    refuse_replaced(inputs.source)
    superseded = is_superseded(own.attempt, runs)
    error = explain_truncation(inputs, diff, superseded)
    deleted = 0 if error else count_deletable(inputs, diff, superseded)
    counted = count_diff(diff) | {"deleted": deleted, "withheld": diff.count(Outcome.HELD_BACK)}
    reasons = {
        name: {str(one): count for one in outcomes if (count := diff.count(one))}
        for name, outcomes in _REASONS.items()
    }
    similar = _find_similar_run(
        _read_earlier_runs(tables.read_or_empty("run_events")), to_encode, inputs
    )
    has_work = counted["due"] + deleted > 0
    return Plan(
        counts={name: count for name, count in counted.items() if name not in _UNKNOWN},
        reasons=reasons,
        to_encode=to_encode,
        images=images._asdict(),
        error=error,
        expected_seconds=_estimate_seconds(diff_s, similar, to_encode) if has_work else diff_s,
        expected_from=_describe_run(similar) if similar and has_work else None,
        seconds={"diff": diff_s} | ({} if answered_share is None else {"sample": sample_s}),
        model_version=inputs.with_profile(profile).spec.model_version,
        source_profile=profile,
        answered_share=answered_share,
    )


def _count_to_encode(inputs: Inputs, rows: DataFrame) -> int:
    contents = select_contents(rows)
    if inputs.request.full_refresh:
        return contents.count()
    spec = inputs.spec
    encodings = inputs.tables.read_or_empty("encodings")
    encodings = encodings.where(F.col("encoder_version") == spec.encoder_version)
    held = select_holding(encodings, spec.limits_digest, run_id="")
    return contents.join(held, "content_hash", "left_anti").count()


def _profile_sample(
    inputs: Inputs, rows: DataFrame
) -> tuple[SourceProfile | None, dict[str, float] | None]:
    """Encode a sample; return the source's profile and the shares with a label.

    Both are None if the sample cannot be encoded. The sample is the first by hash, which does not
    depend on the kind of product.
    """
    contents = select_contents(rows).orderBy("content_hash").limit(_SAMPLE).persist()
    try:
        texts = {row[0]: tuple(row[1:]) for row in contents.select(*_SAMPLED).collect()}
        works = open_accumulator(inputs.spark, {}, WorkByWorker())
        asked = encode_rows(contents, len(texts), inputs.spec, inputs.config, works)
        encoded = asked.where("vectors IS NOT NULL").collect()
    except PySparkException as error:
        if not is_worker_death(error):
            raise
        log.warning("no sample was encoded: one of its products crashes its Python worker")
        return None, None
    finally:
        contents.unpersist()
    if not encoded:
        return None, None
    given = (
        [bytes(row["vectors"]) for row in encoded],
        [row["modalities"] for row in encoded],
        [texts[row["content_hash"]] for row in encoded],
    )
    profile = inputs.spec.profile(*given)
    answers = inputs.with_profile(profile).spec.build_answerer().answer(*given)
    return profile, {
        attribute: round(1 - answers.column(attribute).null_count / len(encoded), 3)
        for attribute in inputs.spec.attributes
    }


_SAMPLED = ("content_hash", "title", "description")


def _read_earlier_runs(events: DataFrame) -> list[dict[str, Any]]:
    """Return the newest published runs that encoded contents, newest first."""
    published = events.where((F.col("state") == State.PUBLISHED) & (F.col("encoded") > 0))
    newest = published.orderBy(F.desc("started_at")).limit(_RUNS_READ)
    names = ("run_id", "encoder_version", "encoded", "seconds", "products_per_second")
    return [row.asDict(recursive=True) for row in newest.select(*names).collect()]


def _find_similar_run(
    runs: list[dict[str, Any]], to_encode: int, inputs: Inputs
) -> dict[str, Any] | None:
    """Return the run that is nearest in size, of the same encoder if possible.

    Speed depends on size: loading the engine takes most of a small run's time.
    """
    same = [run for run in runs if run["encoder_version"] == inputs.spec.encoder_version]
    return min(
        same or runs,
        key=lambda run: abs(math.log(run["encoded"] / max(1, to_encode))),
        default=None,
    )


def _estimate_seconds(
    diff_s: float, similar: Mapping[str, Any] | None, to_encode: int
) -> float | None:
    """Estimate the seconds of a run: encoding in proportion, the rest as in `similar`."""
    if similar is None:
        return None
    seconds = dict(similar["seconds"])
    encode_s = seconds.pop("encode", 0.0) * to_encode / similar["encoded"]
    seconds.pop("diff", None)
    return round(diff_s + encode_s + sum(seconds.values()), 1)


def _describe_run(similar: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: similar[name] for name in ("run_id", "encoder_version", "products_per_second")
    } | {"contents": similar["encoded"]}


def show_plan(plan: Plan) -> None:
    """Print a plan, and the JSON line."""
    if not is_json():
        console = open_console()
        console.print("a run would find:", soft_wrap=True)
        counts = Table("rows", "", "why")
        for name, rows in plan.counts.items():
            why = ", ".join(f"{n:,} {reason}" for reason, n in plan.reasons.get(name, {}).items())
            counts.add_row(f"{rows:,}", name, why)
        console.print(counts)
        images = plan.images
        if images["problem"] is not None:
            tried = f"{images['read']} of {images['tried']} images that were tried can be read"
            console.print(f"{tried}: {tame(images['problem'])}", soft_wrap=True)
        if plan.to_encode:
            console.print(f"{plan.to_encode:,} contents are to be encoded", soft_wrap=True)
        if plan.error is not None:
            console.print(f"The run would be blocked: {plan.error}", soft_wrap=True)
        if plan.answered_share:
            shares = ", ".join(f"{share:.0%} a {a}" for a, share in plan.answered_share.items())
            console.print(f"of a sample, {shares} would be given", soft_wrap=True)
        if plan.source_profile is not None:
            console.print(describe_profile(plan.source_profile), soft_wrap=True)
        expected = plan.expected_seconds
        known = "unknown, as no earlier run tells" if expected is None else f"{expected:,.0f} s"
        source = "" if plan.expected_from is None else f", by run {plan.expected_from['run_id']}"
        console.print(f"expected time: {known}{source}. Nothing was written.", soft_wrap=True)
    print_json_line(asdict(plan))
