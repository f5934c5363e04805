"""Page of a run: collected from the tables, and written to the report folder.

No table changes, so a page can be written again at any time, such as after a rollback.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from itertools import starmap
from operator import itemgetter

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.labels import ABSTAINED, NOT_APPLICABLE, RESERVED
from schemas.tables import COUNTS, CheckOutcome, DiffKind, Modalities, Status, quote_part

from enrich.calibration import Least, Thresholds
from enrich.certificates import exact_interval
from enrich.classifiers.manifest import Manifest, read_metrics
from enrich.config import JobConfig
from enrich.engine.spec import (
    OwnLabels,
    OwnSettings,
    choose_thresholds,
    name_model_version,
    published_labels,
)
from enrich.errors import EnrichError
from enrich.images.locations import LONGEST_PATH
from enrich.images.settings import NO_IMAGE_PATH
from enrich.images.store import ImageStore
from enrich.lexicon import Evidence
from enrich.places import Place, names_in, write_place
from enrich.report import content
from enrich.report.content import CARDS_A_PART, SEPARATOR, fill_gallery, pictured_cards
from enrich.report.page import make_thumbnails, render_index, render_page
from enrich.spark.audit import read_certificates
from enrich.spark.corrections import (
    classifier_label,
    corrected_label,
    find_entry,
    is_inapplicable,
    select_corrections,
)
from enrich.spark.diff import INPUT_FIELDS, read_texts
from enrich.spark.profile import read_profile
from enrich.spark.runs import Event, RunSummary, select_last_events
from enrich.spark.session import in_utc, name_jobs, session_settings
from enrich.spark.source import Source, refuse_replaced
from enrich.spark.tables import Tables, schema_of
from enrich.unseen import SourceProfile, raise_thresholds

log = logging.getLogger(__name__)

RUNS_LISTED = 1_000
_RUN_ORDER = ("run_date", "started_at", "run_id")
# Rows with their predictions: a million of them took more than a gigabyte.
_ROWS_PER_TASK = 50_000
# Counts by key, of a kind of fact and an attribute.
Facts = defaultdict[tuple[str, str | None], Counter[str]]
_CHANGES_SHOWN = 12  # of an attribute
_CHECKS_READ = 10_000
LONGEST_TEXT = 500  # in letters; a longer text is not for reading
_EVIDENCE_NAMES = {
    Evidence.NAMED: "title names the label",
    Evidence.CONTRADICTED: "title names another label",
    Evidence.SEVERAL: "title names several labels",
    Evidence.SILENT: "title names none",
}


@dataclass(frozen=True, slots=True)
class ReportSources:
    """Tables, settings and product table that pages are made of.

    `given` are flags of the job that commands on the page repeat. `expected` are the labels of the
    baseline, None without one. `open_source` opens today's product table, and the store of its
    pictures.
    """

    tables: Tables
    manifest: Manifest
    settings: JobConfig
    given: Mapping[str, str]
    expected: content.ExpectedLabels | None
    open_source: Callable[[], tuple[Source, ImageStore]]


def write_page(sources: ReportSources, summary: RunSummary) -> None:
    """Write a run's page and the list of runs, and the page's path into the summary.

    Nothing is written without a report folder in the settings, or for a run with nothing to do. An
    error is logged, and the run does not fail. After a rollback, call this with `runs.summarise` of
    each run that is undone.
    """
    folder, run_id = sources.settings.report_dir, summary.run_id
    if folder is None or summary.had_nothing_to_do:
        return
    with name_jobs(sources.tables.spark, f"run {run_id}: page"):
        _write_page(sources, summary, folder)


def _write_page(sources: ReportSources, summary: RunSummary, folder: Place) -> None:
    run_id = summary.run_id
    try:
        events = _read_events(sources.tables, run_id)
        # An event cannot know how long its own writing takes.
        events[run_id] |= {"seconds": summary.seconds, **summary.counts}
        page = folder / f"{run_id}.html"
        write_place(page, render_report(sources, events[run_id]))
        summary.report = str(page.resolve())
        newest = sorted(events.values(), key=itemgetter(*_RUN_ORDER), reverse=True)[:RUNS_LISTED]
        runs = [_describe_run(sources, event) for event in newest]
        names = names_in(folder)
        pages = {name.removesuffix(".html") for name in names if name.endswith(".html")}
        index = render_index(runs, pages, is_cut=len(events) > RUNS_LISTED)
        write_place(folder / "index.html", index)
    except OSError as error:
        log.warning("the page of run %s is missing in %s: %s", run_id, folder, error)
    except Exception:
        log.exception("the page of run %s could not be written", run_id)


def _read_events(tables: Tables, run_id: str) -> dict[str, Event]:
    """Return the last event of a run, and those of the newest runs. One action."""
    last = select_last_events(tables.read("run_events"))
    order = (F.col("run_id") == run_id, *map(F.col, _RUN_ORDER))
    newest = last.orderBy(*(column.desc() for column in order)).limit(RUNS_LISTED + 1)
    found = [row.asDict(recursive=True) for row in newest.collect()]
    return {e["run_id"]: {name: in_utc(value) for name, value in e.items()} for e in found}


def render_report(sources: ReportSources, event: Event) -> bytes:
    """Return the page of a run, whose last event is `event`.

    The page has no texts and pictures if the product table cannot be read: it may have been deleted
    since the run, or may be half written.
    """
    try:
        source, store = sources.open_source()
        refuse_replaced(source)
    except EnrichError as error:
        log.warning("the page shows no texts and no pictures: %s", error)
        return render_page(collect_report(sources, event, None), {})
    report = collect_report(sources, event, source.products)
    paths = [card["image_path"] for card in pictured_cards(report.gallery) if card["image_path"]]
    return render_page(report, make_thumbnails(store, paths))


def collect_report(
    sources: ReportSources, event: Event, products: DataFrame | None
) -> content.RunReport:
    """Collect the contents of a run's page, with the texts of `products`.

    At most seven small actions. The size of their results depends on the number of labels, checks
    and cards, and not on the number of products.
    """
    tables, run_id = sources.tables, event["run_id"]
    published = event["published_version"]
    version = None if published is None else published - 1
    before = _read_before(tables, version)
    # The whole table is counted only by a page of a run that has compared the whole table.
    is_full = event["diff"] == DiffKind.FULL
    quarantine = tables.read_run("quarantine", run_id)
    with _bounded_memory(tables, event["answered"] or 0):
        rows = _select_rows(sources, run_id, before).persist(StorageLevel.DISK_ONLY)
        try:
            counted = before if is_full else None
            facts = _count_facts(rows, counted, quarantine, tables.attributes)
            gallery = _choose_gallery(rows, quarantine, facts)
        finally:
            rows.unpersist()
    checks = _read_checks(tables, run_id)
    profile = read_profile(tables, event["source"], event["encoder_version"])
    again = facts["again", None]
    return content.RunReport(
        run=_describe_run(sources, event),
        checks=checks,
        attributes=_describe_attributes(
            sources, event, facts, content.name_baseline(checks), profile
        ),
        before=content.Before(
            version,
            facts["published", None][""] if is_full else None,
            again.total(),
            again["changed"],
        ),
        gallery=gallery if products is None else _with_texts(gallery, products),
        reasons=_sorted(facts["reason", None]),
        statuses=_sorted(facts["status", None]),
        quarantined=_sorted(facts["quarantined", None]),
        proofs=_read_proofs(tables),
        profile=profile,
    )


def _read_proofs(tables: Tables) -> list[content.Row]:
    """Return the proof of each audited attribute: the valid one, or else the newest."""
    rows = sorted(read_certificates(tables), key=itemgetter("stands", "made_at"))
    newest = {row["attribute"]: row for row in rows}
    return [newest[attribute] for attribute in sorted(newest)]


def _read_before(tables: Tables, version: int | None) -> DataFrame:
    """Return a version of the published table, with all attributes' columns."""
    if version is None:
        return tables.read("product_attributes")
    found = tables.read_version("product_attributes", version)
    wanted = schema_of("product_attributes", tables.attributes)
    missing = [field for field in wanted if field.name not in found.columns]
    return found.withColumns({f.name: F.lit(None).cast(f.dataType) for f in missing})


def _bounded_memory(tables: Tables, rows: int) -> AbstractContextManager[None]:
    """Set enough shuffle tasks for a number of rows, and small batches to persist."""
    tasks = "spark.sql.shuffle.partitions"
    wanted = max(int(tables.spark.conf.get(tasks) or 0), math.ceil(rows / _ROWS_PER_TASK))
    at_a_time = "spark.sql.inMemoryColumnarStorage.batchSize"
    return session_settings(tables.spark, {tasks: str(wanted), at_a_time: "1000"})


def _describe_run(sources: ReportSources, event: Event) -> content.Row:
    """Return `RunReport.run`."""
    return event | {
        "seconds": event["seconds"] or {},
        "counts": {name: event[name] or 0 for name in COUNTS},
        "database": sources.tables.database,
        "given": sources.given,
    }


def _read_checks(tables: Tables, run_id: str) -> list[content.Row]:
    """Return the run's checks, with those that did not pass first. One action."""
    # A check lists up to a thousand products.
    checks = tables.read_run("label_quality", run_id).drop("products")
    badness = F.array_position(F.lit([*reversed(CheckOutcome)]), F.col("outcome"))
    order = (badness, "suite", "attribute", "category", "expectation")
    first = checks.orderBy(*order).limit(_CHECKS_READ)
    return [row.asDict() for row in first.collect()]


def _describe_attributes(
    sources: ReportSources,
    event: Event,
    facts: Facts,
    baseline: str | None,
    profile: SourceProfile | None,
) -> tuple[content.AttributeFacts, ...]:
    """Return the attributes that the run answered.

    They have no thresholds if the settings name another checkpoint than the run had, and no
    expected labels if they name another baseline.
    """
    expected = sources.expected
    if expected is None or baseline not in (None, expected.name):
        expected = content.ExpectedLabels("", {})
    thresholds = _find_thresholds(sources, event["model_version"], profile)
    truth = _read_truth(sources.manifest, sources.settings.labels) if thresholds else {}
    labels = published_labels(sources.settings, sources.manifest) if thresholds else {}
    met = facts["modalities", None]
    return tuple(
        content.AttributeFacts(
            name=a,
            labels=_sorted(facts["label", a]),
            before=_sorted(facts["before", a]),
            baseline=expected.labels.get(a, {}),
            answered=_by_bin(facts["answered", a]),
            abstained=_by_bin(facts["abstained", a]),
            image_weights=_by_bin(facts["weight", a]),
            thresholds=_name_thresholds(thresholds.get(a, {}), met),
            floors=_find_floors(thresholds.get(a, {}), met, labels.get(a, ())),
            changes=tuple(starmap(_as_change, _sorted(facts["change", a], _CHANGES_SHOWN).items())),
            truth=truth.get(a, {}),
        )
        for a in sources.tables.attributes
        if facts["label", a]
    )


def _find_thresholds(
    sources: ReportSources, model_version: str, profile: SourceProfile | None
) -> Thresholds:
    """Return the thresholds of a run; none if the settings name another checkpoint."""
    precision, manifest = sources.settings.target_precision, sources.manifest
    known = choose_thresholds(sources.settings, manifest)
    for rise in {0.0, 0.0 if profile is None else profile.rise}:
        own = OwnSettings.of(sources.settings)
        if model_version == name_model_version(manifest, precision, own, rise):
            return raise_thresholds(known, rise, manifest.calibration.transfer) if rise else known
    return {}


def _read_truth(manifest: Manifest, own: OwnLabels) -> dict[str, dict[str, content.Truth]]:
    """Return the precision in test groups, by attribute and published label.

    Labels that are published under one name count as one.
    """
    given: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for title, by_attribute in read_metrics(manifest.folder).get("labels", {}).items():
        if title.startswith("test_groups_"):
            for attribute, by_label in by_attribute.items():
                for label, counts in by_label.items():
                    published = own.get(attribute, {}).get(label, label)
                    if published is not None:
                        given[attribute, published] += counts["given"]
                        right[attribute, published] += counts["right"]
    truth: dict[str, dict[str, content.Truth]] = defaultdict(dict)
    for (attribute, label), rows in given.items():
        if rows:
            hits = right[attribute, label]
            interval = exact_interval(hits, rows)
            truth[attribute][label] = content.Truth(hits / rows, *interval)
    return truth


def _name_thresholds(
    by_modalities: Mapping[Modalities, Least], met: Mapping[str, int]
) -> dict[str, float]:
    """Return thresholds by a description for the page."""
    return {
        f"{modalities}, {_EVIDENCE_NAMES[evidence]}": least
        for modalities, found in by_modalities.items()
        if modalities in met
        for evidence, least in found.by_evidence.items()
        if evidence is Evidence.SILENT or modalities is not Modalities.IMAGE
    }


def _find_floors(
    by_modalities: Mapping[Modalities, Least], met: Mapping[str, int], labels: Sequence[str]
) -> dict[str, float]:
    """Return the confidences of labels that need more than the attribute's lowest one."""
    found = [least for modalities, least in by_modalities.items() if modalities in met]
    # Kinds of NULL come after the labels.
    floors = {
        label: max((least.by_label[place] for least in found), default=0.0)
        for place, label in enumerate(labels)
    }
    lowest = min((min(least.by_evidence.values()) for least in found), default=0.0)
    return {label: floor for label, floor in floors.items() if floor > lowest}


def _as_change(key: str, products: int) -> content.Change:
    old, _, new = key.partition(SEPARATOR)
    return content.Change(old, new, products)


def _sorted(counts: Counter[str], most: int | None = None) -> dict[str, int]:
    """Return counts by key, the most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def _by_bin(counts: Counter[str]) -> tuple[int, ...]:
    return tuple(counts[str(place)] for place in range(content.BINS))


def _select_rows(sources: ReportSources, run_id: str, before: DataFrame) -> DataFrame:
    """Return a run's candidates with an array `answers`, one entry an attribute; lazy.

    An answer has `attribute`, `label` (for publication; ABSTAINED or NOT_APPLICABLE for none),
    `is_corrected`, `candidates`, `confidence`, `abstained`, `image_weight` and `old`. `old` is the
    published label before the run. For a product without a published row, `old` and `is_changed`
    are NULL. For rows to be deleted, `status` and `answers` are NULL.
    """
    tables, labels = sources.tables, published_labels(sources.settings, sources.manifest)
    candidates = tables.read_run("candidates", run_id)
    corrections = select_corrections(tables.read("attribute_corrections"), labels)
    pairs = [c for a in tables.attributes for c in (F.lit(a), _published_label(a))]
    # First the run's products: they are few on most nights, and the table need not be sorted.
    found = before.join(candidates.select("product_id"), "product_id", "left_semi")
    found = found.select("product_id", F.create_map(*pairs).alias("published"))
    joined = candidates.join(corrections, "product_id", "left").join(found, "product_id", "left")
    rows = joined.select(
        *("product_id", "reason", "product_category", "status", "modalities", "error"),
        F.transform("predictions", _answer).alias("answers"),
    )
    is_changed = F.exists("answers", lambda answer: answer["old"] != answer["label"])
    was_published = F.exists("answers", lambda answer: answer["old"].isNotNull())
    is_changed = F.when(was_published, F.coalesce(is_changed, F.lit(False)))
    return rows.withColumn("is_changed", is_changed)


def _published_label(attribute: str) -> Column:
    """Return a published row's label, or its kind of NULL.

    NULL in rows that are older than the attribute: they have no confidence in it.
    """
    is_answered = F.col(quote_part(f"{attribute}_confidence")).isNotNull()
    none = _kind_of_null(find_entry("predictions", attribute))
    return F.when(is_answered, F.coalesce(F.col(quote_part(attribute)), none))


def _kind_of_null(prediction: Column) -> Column:
    """Return the kind of NULL of a prediction: NOT_APPLICABLE or ABSTAINED."""
    none = F.when(is_inapplicable(prediction), F.lit(NOT_APPLICABLE))
    return none.otherwise(F.lit(ABSTAINED))


def _answer(prediction: Column) -> Column:
    correction = find_entry("corrections", prediction["attribute"])
    label = corrected_label(correction, classifier_label(prediction))
    best = F.struct(*(prediction[name].alias(name) for name in ("label", "confidence")))
    same = ("attribute", "confidence", "abstained", "image_weight", "named")
    return F.struct(
        *(prediction[name].alias(name) for name in same),
        F.coalesce(label, _kind_of_null(prediction)).alias("label"),
        correction.isNotNull().alias("is_corrected"),
        F.concat(F.array(best), prediction["alternatives"]).alias("candidates"),
        F.element_at("published", prediction["attribute"]).alias("old"),
    )


def _count_facts(
    rows: DataFrame, before: DataFrame | None, quarantine: DataFrame, attributes: Sequence[str]
) -> Facts:
    """Count the facts that rows state, in one pass over them. One action.

    Only counts of equal facts reach the driver, so the number of labels bounds their size.
    """
    about_row = ("reason", "status", "modalities", "is_changed")
    values = rows.select(*about_row, F.posexplode_outer("answers").alias("place", "answer"))
    labels = {a: _published_label(a) for a in attributes}
    published = [_fact("published"), *(_fact("before", F.lit(a), labels[a]) for a in attributes)]
    stated = [
        table.select(F.explode(F.array_compact(F.array(*of_row))).alias("fact")).select("fact.*")
        for table, of_row in (
            (values, _facts_of_answer()),
            (quarantine, [_fact("quarantined", key=F.col("reason"))]),
            (before, published),
        )
        if table is not None
    ]
    counted = reduce(DataFrame.unionAll, stated).groupBy("kind", "attribute", "key").count()
    facts: Facts = defaultdict(Counter)
    for kind, attribute, key, number in counted.collect():
        facts[kind, attribute][key] = number
    return facts


def _facts_of_answer() -> Iterator[Column]:
    is_first = F.coalesce(F.col("place"), F.lit(0)) == 0
    status, modalities, is_changed = map(F.col, ("status", "modalities", "is_changed"))
    yield _fact("reason", key=F.col("reason"), when=is_first)
    yield _fact("status", key=status, when=is_first & status.isNotNull())
    yield _fact("modalities", key=modalities, when=is_first & status.isNotNull())
    again = F.when(is_changed, "changed").otherwise("same")
    yield _fact("again", key=again, when=is_first & is_changed.isNotNull())
    answer = F.col("answer")
    attribute, label, abstained = answer["attribute"], answer["label"], answer["abstained"]
    yield _fact("label", attribute, label)
    yield _fact("answered", attribute, _bin(answer["confidence"]), when=~abstained)
    unsure = abstained & (label != NOT_APPLICABLE)
    yield _fact("abstained", attribute, _bin(answer["confidence"]), when=unsure)
    both = modalities == Modalities.IMAGE_AND_TEXT
    yield _fact("weight", attribute, _bin(answer["image_weight"]), when=both)
    change = F.concat_ws(SEPARATOR, answer["old"], label)
    yield _fact("change", attribute, change, when=answer["old"] != label)


def _fact(
    kind: str,
    attribute: Column | None = None,
    key: Column | None = None,
    when: Column | None = None,
) -> Column:
    """Return a fact of a row; NULL without its key, or where `when` does not hold."""
    key = F.lit("") if key is None else key
    values = {"kind": F.lit(kind), "attribute": F.lit(attribute), "key": key}
    fact = F.struct(*(value.cast("string").alias(name) for name, value in values.items()))
    return F.when(key.isNotNull() if when is None else when & key.isNotNull(), fact)


def _bin(share: Column) -> Column:
    """Return the bin of a number in [0, 1]; 1 belongs to the last one."""
    bucket = F.width_bucket(share, F.lit(0.0), F.lit(1.0), F.lit(content.BINS))
    return F.least(F.greatest(bucket, F.lit(1)), F.lit(content.BINS)) - 1


def _choose_gallery(rows: DataFrame, quarantine: DataFrame, facts: Facts) -> content.Gallery:
    """Choose the products of the gallery by a fixed rule, without texts. One action."""
    columns = ("product_id", "reason", "product_category", "status", "modalities", "answers")
    error = F.substring("error", 1, LONGEST_TEXT).alias("error")
    placed = rows.withColumn("place", F.explode(F.concat(*_places())))
    placed = placed.select("place.*", *columns, error)
    placed = placed.unionByName(_place_quarantined(quarantine), allowMissingColumns=True)
    # A rank with a limit: Spark drops the other rows of each part before the shuffle.
    order = Window.partitionBy("section", "part").orderBy("rank", "product_id")
    ranked = placed.withColumn("place", F.row_number().over(order))
    offered = ranked.where(F.col("place") <= CARDS_A_PART).collect()
    counts = {
        f"{attribute}{SEPARATOR}{key}": products
        for (kind, attribute), found in facts.items()
        for key, products in found.items()
        if kind in ("label", "change")
    }
    return fill_gallery([row.asDict(recursive=True) for row in offered], counts)


def _places() -> Iterator[Column]:
    """Yield arrays of a row's possible places in the gallery."""
    blind = F.xxhash64("product_id")  # an order that does not depend on the kind of product
    changed = F.filter("answers", lambda one: one["old"] != one["label"])
    yield F.transform(changed, lambda one: _place("changed", _part(one, "old", "label"), blind))
    contradicted = F.filter("answers", _is_contradicted)
    yield F.transform(
        contradicted,
        lambda one: _place(
            "contradictions",
            one["attribute"],
            # Published labels first.
            confidence_in(one["named"], one["candidates"]) / one["confidence"]
            + F.when(one["label"] == ABSTAINED, 1).otherwise(0),
        ),
    )
    own = F.filter("answers", lambda one: ~one["is_corrected"] & (one["label"] != NOT_APPLICABLE))
    yield F.transform(own, lambda one: _place("unsure", one["attribute"], one["confidence"]))
    labelled = F.filter("answers", lambda one: ~one["label"].isin(ABSTAINED, NOT_APPLICABLE))
    yield F.transform(labelled, lambda one: _place("examples", _part(one, "label"), blind))
    # A product without an image path has not failed.
    has_failed = (F.col("status") != Status.OK) & ~F.col("error").eqNullSafe(NO_IMAGE_PATH)
    yield F.array_compact(F.array(F.when(has_failed, _place("failed", F.col("status"), blind))))


def _is_contradicted(answer: Column) -> Column:
    best = answer["candidates"][0]["label"]
    differs = (answer["named"] != best) & ~best.isin(*RESERVED)
    applies = answer["label"] != NOT_APPLICABLE
    return ~answer["is_corrected"] & applies & F.coalesce(differs, F.lit(False))


def confidence_in(label: Column, candidates: Column) -> Column:
    """Return the confidence of a label among candidates, 0 if it is missing there."""
    found = F.filter(candidates, lambda one: one["label"] == label)
    return F.coalesce(F.get(found, F.lit(0))["confidence"], F.lit(0.0))


def _part(answer: Column, *labels: str) -> Column:
    return F.concat_ws(SEPARATOR, answer["attribute"], *(answer[name] for name in labels))


def _place(section: str, part: Column, rank: Column) -> Column:
    rank = rank.cast("double")
    return F.struct(F.lit(section).alias("section"), part.alias("part"), rank.alias("rank"))


def _place_quarantined(quarantine: DataFrame) -> DataFrame:
    return quarantine.select(
        F.lit("quarantined").alias("section"),
        F.col("reason").alias("part"),
        F.xxhash64("product_id", *INPUT_FIELDS).cast("double").alias("rank"),
        F.col("reason").alias("status"),
        F.substring("error", 1, LONGEST_TEXT).alias("error"),
        "product_id",
        # At full length: the page hides secrets in an address before it cuts the address.
        *(F.substring(c, 1, LONGEST_PATH).alias(c) for c in ("title", "image_path")),
    )


def _with_texts(gallery: content.Gallery, products: DataFrame) -> content.Gallery:
    """Return the gallery with titles and image paths of the product table."""
    # Quarantined rows keep their own.
    answered = {name: cards for name, cards in gallery.items() if name != "quarantined"}
    ids = {card["product_id"] for cards in answered.values() for card in cards}
    texts = read_texts(products, ids, LONGEST_TEXT)
    with_texts = {
        name: [{**card, **texts.get(card["product_id"], {})} for card in cards]
        for name, cards in answered.items()
    }
    return {**gallery, **with_texts}
