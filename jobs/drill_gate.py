"""Drills the quality gate: how often does it stop a sound run, and does it stop a broken one?

    python jobs/drill_gate.py --catalog shop/ --category-column master_category

Answers 8,000 products of a catalog with the bundled checkpoint, soundly and with faults whose
pixels really go through the classifier. Runs are drawn from the sound answers and compared to
baselines of other products, a thousand times for every size: a run that is stopped is a false
alarm. Then runs are drawn from the faulty answers. Some cases also go through Spark and Great
Expectations.

The last line on standard output is one JSON object. Exit code 1: the gate is worse than wanted, or
Spark and Great Expectations come to other checks than the drill.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from enrich.classifiers.manifest import BUNDLED
from enrich.command_line import run_command
from enrich.drill.answers import answer_products
from enrich.drill.faults import Fault
from enrich.drill.products import read_column, sample_products
from enrich.errors import ConfigError
from enrich.records import Product
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from expectations.baseline import LabelBaseline
from expectations.drill.answers import DrawnAnswers, group_categories, read_answers
from expectations.drill.in_arrays import build_baseline
from expectations.drill.label_faults import build_label_faults
from expectations.drill.measures import (
    SETTINGS,
    SOUND,
    StoppedShares,
    is_good,
    measure_alarms,
    measure_detected,
    name_reason,
)
from expectations.drill.runs import Case
from expectations.summary import OTHER

CHECKOUT = Path(__file__).resolve().parent.parent
# Products of the largest run, and of the baseline that it is compared to.
RUN, BASELINE = 5_000, 3_000
SIZES = (40, 500, RUN)
RESAMPLES = 1_000
# Enough to see whether a fault is always found.
FAULTY_RESAMPLES = 200
# Through Spark goes one of each kind only: sound, with faulty pixels, with rows in a wrong order.
IN_SPARK = (SOUND, "swapped_channels", "answers_of_others")
# Smaller categories are drilled together.
CATEGORY_SHARE = 0.05

SHOWN_REASONS = 3
console = Console(width=110)


def main(
    catalog: Annotated[Path, typer.Option(help="A folder with products.parquet and the images.")],
    work: Annotated[
        Path, typer.Option(help="Folder that keeps answers for the next drill.")
    ] = CHECKOUT / "build" / "gate_drill",
    category_column: Annotated[
        str | None, typer.Option(help="That table's column with the category.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Sound runs of each size.")] = RESAMPLES,
) -> None:
    """Drills the quality gate with sound and faulty runs."""
    products = sample_products(catalog, RUN + BASELINE)
    categories = None
    if category_column is not None:
        categories = read_categories(catalog, products, category_column)
    sound = read_answers(*answer_products(work, BUNDLED, catalog, products), categories)
    baseline = build_baseline(sound.take(np.arange(RUN, len(products))))
    cases = build_cases(work, catalog, products[:RUN], sound.take(np.arange(RUN)))

    alarms = measure_alarms(sound, SIZES, BASELINE, resamples)
    by_size = measure_detected(cases, baseline, SIZES, FAULTY_RESAMPLES)
    show(alarms, by_size, baseline, cases, resamples)
    agrees = compare_with_spark({name: cases[name] for name in IN_SPARK}, baseline)
    detected = {name: shares[RUN] for name, shares in by_size.items()}
    rate = max(alarms[SOUND].values())
    summary = {"resamples": resamples, "false_alarm_rate": rate, "detected": detected}
    typer.echo(json.dumps(summary))
    raise typer.Exit(0 if agrees and is_good(rate, detected) else 1)


def read_categories(folder: Path, products: Sequence[Product], column: str) -> pd.Categorical:
    """Returns the products' categories, small ones together.

    Raises:
        ConfigError: all of them are small.
        SchemaMismatch: there is no such column, or it cannot be read as text.
    """
    categories = group_categories(read_column(folder, products, column), CATEGORY_SHARE)
    if set(categories) == {OTHER}:
        raise ConfigError(
            f"no value of {column} has {CATEGORY_SHARE:.0%} of the products: name a column of "
            "fewer categories"
        )
    return categories


def build_cases(
    work: Path, folder: Path, products: Sequence[Product], sound: DrawnAnswers
) -> dict[str, Case]:
    """Returns the sound answers to the products, and those with every fault, by name."""
    cases = {SOUND: Case(sound, sound)} | build_label_faults(sound)
    for fault in Fault:
        answers = answer_products(work, BUNDLED, folder, products, fault)
        cases[str(fault)] = Case(read_answers(*answers, sound.categories))
    return cases


def show(
    alarms: StoppedShares,
    detected: StoppedShares,
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
    for name, rates in detected.items():
        checks = cases[name].check(np.arange(RUN), baseline, SETTINGS)
        blocking = [check for check in checks if check.blocks]
        shares = [f"{rates[size]:.0%}" for size in SIZES]
        table.add_row(name, *shares, "\n".join(map(name_reason, blocking[:SHOWN_REASONS])))
    console.print(table, markup=False)
    for attribute in cases[SOUND].answers.labels:
        if f"{attribute}_stuck" not in cases:
            told = f"{attribute}: fewer than two labels occur, so no fault of its labels is drilled"
            console.print(told, markup=False)


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
