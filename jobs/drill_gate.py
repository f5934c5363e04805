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

The last line on standard output is one JSON object. Exit code 1: the gate is worse than wanted, or
Spark and Great Expectations come to other checks than the drill.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from enrich.classifiers.manifest import BUNDLED
from enrich.command_line import run_command
from enrich.drill.answers import answer_products
from enrich.drill.faults import Fault
from enrich.drill.old_answers import OLD_ANSWERS, keep_answers, read_kept_answers
from enrich.drill.products import draw_products, read_column, sample_products
from enrich.errors import ConfigError
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.answers import DrawnAnswers, group_categories, read_answers
from expectations.drill.in_arrays import build_baseline
from expectations.drill.label_faults import build_label_faults
from expectations.drill.runs import (
    Case,
    measure_detection,
    measure_false_alarms,
    measure_false_alarms_by_category,
)
from expectations.settings import ValidationSettings
from expectations.summary import OTHER

CHECKOUT = Path(__file__).resolve().parent.parent
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
OLD_CHECKPOINT = "old_checkpoint"

SETTINGS = ValidationSettings()
# What is left to chance alone: shows that the formulas of chance hold.
NO_TOLERANCE = ValidationSettings(max_divergence=0, max_confidence_shift=0, max_modality_shift=0)
console = Console(width=110)


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
    if catalog is not None and keep_old is not None:
        raise ConfigError("--keep-old keeps answers to drawn products: leave --catalog out")
    if category_column is not None and catalog is None:
        raise ConfigError("--category-column is one of a catalog's table: name it by --catalog")
    if catalog is None:
        folder, products = work / "drawn", draw_products(work / "drawn", (RUN, BASELINE))
    else:
        folder, products = catalog, sample_products(catalog, RUN + BASELINE)
    if keep_old is not None:
        told = answer_products(work, keep_old, folder, products[:RUN])
        keep_answers(OLD_ANSWERS, *told, products[:RUN])
    categories = None
    if category_column is not None:
        named = read_column(folder, products, category_column)
        categories = group_categories(named, CATEGORY_SHARE)
        if set(categories) == {OTHER}:
            raise ConfigError(
                f"no value of {category_column} has {CATEGORY_SHARE:.0%} of the products: name a "
                "column of fewer categories"
            )
    sound = read_answers(*answer_products(work, BUNDLED, folder, products), categories)
    known = sound.take(np.arange(RUN))
    baseline = build_baseline(sound.take(np.arange(RUN, len(products))))
    cases = {"sound": Case(known, known)} | build_label_faults(known)
    for fault in Fault:
        table = answer_products(work, BUNDLED, folder, products[:RUN], fault)
        cases[str(fault)] = Case(read_answers(*table, known.categories))
    if catalog is None:
        old = read_kept_answers(OLD_ANSWERS, products[:RUN])
        cases[OLD_CHECKPOINT] = Case(read_answers(known.model_version, old))

    alarms = measure_alarms(sound, resamples)
    found = measure_found(cases, baseline)
    show(alarms, found, baseline, cases, resamples)
    agrees = compare_with_spark({name: cases[name] for name in IN_SPARK}, baseline)
    detected = {name: by_size[RUN] for name, by_size in found.items()}
    rate = max(alarms["sound"].values())
    summary = {"resamples": resamples, "false_alarm_rate": rate, "detected": detected}
    typer.echo(json.dumps(summary))
    raise typer.Exit(0 if agrees and is_good(rate, detected) else 1)


def measure_alarms(sound: DrawnAnswers, resamples: int) -> dict[str, dict[int, float]]:
    """Returns the share of sound runs that are stopped, of every kind and size."""
    alarms = {
        name: {
            size: measure_false_alarms(sound, size, BASELINE, resamples, settings) for size in SIZES
        }
        for name, settings in (("sound", SETTINGS), ("sound, tolerances 0", NO_TOLERANCE))
    }
    if sound.categories is not None:
        alarms["sound, one category"] = measure_false_alarms_by_category(
            sound, SIZES, BASELINE, resamples, SETTINGS
        )
    return alarms


def measure_found(cases: dict[str, Case], baseline: LabelBaseline) -> dict[str, dict[int, float]]:
    """Returns the share of faulty runs that are stopped, of every case and size."""
    return {
        name: {
            size: measure_detection(case, size, baseline, FAULTY_RESAMPLES, SETTINGS)
            for size in SIZES
        }
        for name, case in cases.items()
        if name != "sound"
    }


def is_good(false_alarms: float, detected: dict[str, float]) -> bool:
    """Returns whether the gate lets sound runs pass and stops every faulty one.

    An old checkpoint may be stopped less often: the more it answers as the new one does, the less
    there is to find.
    """
    faults = [share for name, share in detected.items() if name != OLD_CHECKPOINT]
    return false_alarms <= WANTED_FALSE_ALARMS and min(faults) == 1


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
        blocking = [c for c in cases[name].check(np.arange(RUN), baseline, SETTINGS) if c.blocks]
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
    from expectations.drill.in_spark import is_same, validate_case

    spark = open_session("drill_gate")
    table = Table("run", "checks", "stopped", "same as above", title="by Spark and GX")
    agrees = True
    for name, case in cases.items():
        report = validate_case(spark, case, baseline, SETTINGS)
        same = is_same(case.check(np.arange(RUN), baseline, SETTINGS), report)
        agrees &= same
        stopped = "no" if report.passed else "yes"
        table.add_row(name, str(len(report.checks)), stopped, "yes" if same else "NO")
    console.print(table)
    return agrees


if __name__ == "__main__":
    run_command(main, explain_failure)
