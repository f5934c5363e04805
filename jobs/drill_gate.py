"""Drills the quality gate: how often does it stop a sound run, and does it stop a broken one?

    python jobs/drill_gate.py
    python jobs/drill_gate.py --catalog shop/ --category-column master_category

Answers drawn products with the bundled checkpoint, soundly and with faults whose pixels really go
through the classifier. Runs are drawn from the sound answers and compared to baselines of other
products, a thousand times for every size: a run that is stopped is a false alarm. Then runs are
drawn from the faulty answers. Some cases also go through Spark and Great Expectations.

Tolerances and the level of false alarms are the defaults of `ValidationSettings`. They were chosen
beforehand on other products (drawn with another seed, and a real shop by season and year); nothing
was tuned to the runs drawn here.

The last line on standard output is one JSON object. Exit code 1: the gate is worse than wanted.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from enrich.classifiers.manifest import BUNDLED
from enrich.command_line import run_command
from enrich.demo.drill import SEED, answer_products, draw_products, sample_products
from enrich.demo.old_answers import keep_answers, read_kept_answers
from enrich.errors import ConfigError
from enrich.faults import Fault
from enrich.records import Product
from enrich.spark.session import open_session
from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill import Answers, Coded, build_baseline, check_answers
from expectations.label_faults import give_to_others, rename_labels, stick_to_commonest
from expectations.settings import ValidationSettings
from expectations.summary import ABSTAINED, OTHER
from schemas.tables import select_attributes

CHECKOUT = Path(__file__).resolve().parent.parent
OLD_ANSWERS = CHECKOUT / "expectations" / "drill_data" / "old_checkpoint.parquet"
RUN, BASELINE = 5_000, 3_000
SIZES = (40, 500, RUN)
RESAMPLES = 1_000
# Enough to see whether a fault is always found.
FAULTY_RESAMPLES = 200
WANTED_FALSE_ALARMS = 0.01
IN_SPARK = ("sound", "swapped_channels", "answers_of_others")
# Smaller categories are drilled together.
CATEGORY_SHARE = 0.05

SHOWN_REASONS = 3

SETTINGS = ValidationSettings()
# What is left to chance alone: shows that the formulas of chance hold.
NO_TOLERANCE = ValidationSettings(max_divergence=0, max_confidence_shift=0, max_modality_shift=0)
console = Console(width=110)


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Answers of a run, and what was published of the same products before."""

    answers: Answers
    before: Answers | None = None

    def check(self, baseline: LabelBaseline, products: np.ndarray) -> list[Check]:
        """Returns the gate's checks of a run of some of the products."""
        before = None if self.before is None else self.before.take(products)
        return check_answers(self.answers.take(products), baseline, SETTINGS, before)


def main(
    work: Annotated[
        Path, typer.Option(help="Folder that keeps products and answers for the next drill.")
    ] = CHECKOUT / "build" / "gate_drill",
    catalog: Annotated[
        Path | None, typer.Option(help="A folder with products.parquet, instead of drawn ones.")
    ] = None,
    category_column: Annotated[
        str | None, typer.Option(help="That table's column with the category.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Sound runs of each size.")] = RESAMPLES,
    keep_old: Annotated[
        Path | None,
        typer.Option(help="Keep this checkpoint's answers as those of the old checkpoint."),
    ] = None,
) -> None:
    """Drills the quality gate with sound and faulty runs."""
    if catalog is None:
        folder, products = work / "drawn", draw_products(work / "drawn", (RUN, BASELINE))
    elif (catalog / "products.parquet").exists():
        folder, products = catalog, sample_products(catalog, RUN + BASELINE)
    else:
        raise ConfigError(f"CATALOG ABSENT: no {catalog}/products.parquet; NOTHING was drilled")
    if keep_old is not None:
        told = answer_products(work, keep_old, folder, products[:RUN])
        keep_answers(OLD_ANSWERS, *told, products[:RUN])
    categories = read_categories(folder, products, category_column)
    sound = read_answers(*answer_products(work, BUNDLED, folder, products), categories)
    known = sound.take(np.arange(RUN))
    baseline = build_baseline(sound.take(np.arange(RUN, len(products))))
    cases = {"sound": Case(known, known)} | build_label_faults(known)
    for fault in Fault:
        table = answer_products(work, BUNDLED, folder, products[:RUN], fault)
        cases[str(fault)] = Case(read_answers(*table, known.categories))
    if catalog is None:
        old = read_kept_answers(OLD_ANSWERS, products[:RUN])
        cases["old_checkpoint"] = Case(read_answers(known.model_version, old, None))

    alarms = {
        name: {size: count_false_alarms(sound, size, resamples, settings) for size in SIZES}
        for name, settings in (("sound", SETTINGS), ("sound, tolerances 0", NO_TOLERANCE))
    }
    if categories is not None:
        alarms["sound, one category"] = count_false_alarms_by_category(sound, resamples)
    found = {
        name: {size: count_detected(case, baseline, size) for size in SIZES}
        for name, case in cases.items()
        if name != "sound"
    }
    show(alarms, found, baseline, cases, resamples)
    agrees = compare_with_spark({name: cases[name] for name in IN_SPARK}, baseline)
    detected = {name: by_size[RUN] for name, by_size in found.items()}
    rate = max(alarms["sound"].values())
    summary = {"resamples": resamples, "false_alarm_rate": rate, "detected": detected}
    typer.echo(json.dumps(summary))
    raise typer.Exit(0 if agrees and is_good(rate, detected) else 1)


def is_good(false_alarms: float, detected: dict[str, float]) -> bool:
    """Returns whether the gate lets sound runs pass and stops every faulty one."""
    return false_alarms <= WANTED_FALSE_ALARMS and min(detected.values()) == 1


def read_categories(folder: Path, products: list[Product], column: str | None) -> Coded | None:
    """Returns the products' categories, small ones as `OTHER`; None without such a column."""
    if column is None:
        return None
    table = pq.read_table(folder / "products.parquet", columns=["product_id", column])
    by_id = dict(zip(table["product_id"].to_pylist(), table[column].to_pylist(), strict=True))
    names = Coded.encode([by_id[product.product_id] for product in products], OTHER)
    large = {name for name, n in names.count().items() if n >= CATEGORY_SHARE * len(products)}
    return Coded.encode([name if name in large else OTHER for name in names.values()], OTHER)


def read_answers(model_version: str, table: pa.Table, categories: Coded | None) -> Answers:
    """Returns a table's answers."""
    attributes = select_attributes(table.column_names)
    return Answers(
        model_version,
        {a: Coded.encode(table[a].to_pylist(), ABSTAINED) for a in attributes},
        {a: table[f"{a}_confidence"].to_numpy().astype(float) for a in attributes},
        Coded.encode(table["modalities"].to_pylist(), "none"),
        categories,
    )


def build_label_faults(known: Answers) -> dict[str, Case]:
    """Returns the runs whose labels went wrong after the classifier."""
    rng = np.random.default_rng(SEED)
    return {
        **{f"{a}_stuck": Case(stick_to_commonest(known, a)) for a in known.labels},
        **{f"{a}_labels_permuted": Case(rename_labels(known, a)) for a in known.labels},
        "answers_of_others": Case(give_to_others(known, rng), before=known),
    }


def count_false_alarms(
    sound: Answers, size: int, resamples: int, settings: ValidationSettings
) -> float:
    """Returns the share of sound runs that are stopped; run and baseline share no product."""
    rng = np.random.default_rng([SEED, size])
    stopped = 0
    for _ in track(range(resamples), f"sound runs of {size:,}", console=Console(stderr=True)):
        order = rng.permutation(len(sound))
        baseline = build_baseline(sound.take(order[-BASELINE:]))
        stopped += is_stopped(check_answers(sound.take(order[:size]), baseline, settings))
    return stopped / resamples


def count_false_alarms_by_category(sound: Answers, resamples: int) -> dict[int, float]:
    """Returns the same for runs of one category, against baselines of the whole catalog.

    A category that has fewer products than a run gives all that the baseline left of it.
    """
    assert sound.categories is not None
    names = [name for name in sound.categories.names if name != OTHER]
    of = sound.categories.values()
    stopped = dict.fromkeys(SIZES, 0)
    for number in range(resamples):
        order = np.random.default_rng([SEED, number]).permutation(len(sound))
        baseline = build_baseline(sound.take(order[-BASELINE:]))
        run = order[:-BASELINE]
        run = run[of[run] == names[number % len(names)]]
        for size in SIZES:
            stopped[size] += is_stopped(check_answers(sound.take(run[:size]), baseline, SETTINGS))
    return {size: n / resamples for size, n in stopped.items()}


def count_detected(case: Case, baseline: LabelBaseline, size: int) -> float:
    """Returns the share of faulty runs that are stopped."""
    rng = np.random.default_rng([SEED, size])
    drawn = (rng.integers(len(case.answers), size=size) for _ in range(FAULTY_RESAMPLES))
    return sum(is_stopped(case.check(baseline, run)) for run in drawn) / FAULTY_RESAMPLES


def is_stopped(checks: list[Check]) -> bool:
    """Returns whether nothing of a run would be published."""
    return any(check.blocks for check in checks)


def show(
    alarms: dict[str, dict[int, float]],
    found: dict[str, dict[int, float]],
    baseline: LabelBaseline,
    cases: dict[str, Case],
    resamples: int,
) -> None:
    """Prints how many runs were stopped, and what stops a faulty run of all products."""
    sizes = [f"{size:,} products" for size in SIZES]
    table = Table("runs", *sizes, "stopped by", title="runs that the gate stops")
    for name, rates in alarms.items():
        shares = [f"{rates[size]:.1%}" for size in SIZES]
        table.add_row(name, *shares, f"{resamples:,} runs of each size")
    table.add_section()
    for name, rates in found.items():
        blocking = [c for c in cases[name].check(baseline, np.arange(RUN)) if c.blocks]
        shares = [f"{rates[size]:.0%}" for size in SIZES]
        table.add_row(name, *shares, "\n".join(map(name_reason, blocking[:SHOWN_REASONS])))
    console.print(table, markup=False)


def name_reason(check: Check) -> str:
    """Returns what a check is about, in few words."""
    words = check.expectation.removeprefix("expect_").removesuffix("_near_baseline")
    return f"{check.about} {words.replace('_', ' ')}".strip()


def compare_with_spark(cases: dict[str, Case], baseline: LabelBaseline) -> bool:
    """Returns whether Spark and Great Expectations come to the same checks as the drill."""
    # Seconds to import, which somebody who asks for --help should not wait for.
    from expectations.drill_spark import validate_answers

    spark = open_session("drill_gate")
    table = Table("run", "checks", "stopped", "same as above", title="by Spark and GX")
    agrees = True
    for name, case in cases.items():
        drilled = case.check(baseline, np.arange(RUN))
        report = validate_answers(spark, case.answers, case.before, baseline, SETTINGS)
        same = {outline(check, check.passed) for check in drilled} == {
            outline(check, check.outcome == "pass") for check in report.checks
        }
        agrees &= same
        stopped = "no" if report.passed else "yes"
        table.add_row(name, str(len(report.checks)), stopped, "yes" if same else "NO")
    console.print(table)
    return agrees


def outline(check: Any, passed: bool) -> tuple[object, ...]:
    """Returns what two ways of running a check must agree on."""
    observed, threshold = round(check.observed, 4), round(check.threshold, 6)
    return check.expectation, check.attribute, check.category, observed, threshold, passed


if __name__ == "__main__":
    run_command(main)
