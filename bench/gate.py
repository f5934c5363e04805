"""Measures the quality gate: how often it blocks sound runs, and whether it blocks broken ones.

    python -m bench.gate
    python -m bench.gate --answer shop/ --category-column kind --old-checkpoint old/

Runs are drawn from kept answers, sound ones and answers with faults, and compared with baselines of
other products of the catalog. Some cases also go through Spark and Great Expectations. `--answer`
first answers a sample of a catalog anew, with the bundled checkpoint, and keeps the answers.

The last line on standard output is one JSON object. Exit code 1: the gate is worse than wanted, or
Spark and Great Expectations block by other checks than the benchmark.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.gate_answers import BASELINE, RUN, Case, read_answers, write_answers
from bench.gate_runs import (
    Answers,
    build_baseline,
    check_by_gate,
    find_reasons,
    inject_faults,
    measure_detection,
    measure_false_alarms,
    measure_false_alarms_by_category,
)
from enrich.cli import run_command
from enrich.errors import ConfigError
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from expectations.baseline import LabelBaseline
from expectations.settings import ValidationSettings

SIZES = (40, 500, RUN)
RUNS, FAULTY_RUNS = 1_000, 200
MOST_FALSE_ALARMS = 0.01
# From this size on every fault is found, also one of 15 % of the answers.
SURE_SIZE, LEAST_DETECTED = 500, 0.98

SETTINGS = ValidationSettings()
# Nothing may really have moved, so that chance alone is allowed: these runs test its bounds.
NO_TOLERANCE = ValidationSettings(
    max_label_shift=0, max_total_label_shift=0, max_confidence_shift=0, max_modality_shift=0
)
IN_SPARK = ("sound", "swapped_channels", "answers_of_others")
SHOWN_REASONS = 3

# Share of runs that are blocked, in [0, 1], by what they are and by their size in products.
Blocked = dict[str, dict[int, float]]

console = Console(width=110)


def main(
    runs: Annotated[int, typer.Option(min=1, help="Sound runs of each size.")] = RUNS,
    faulty_runs: Annotated[
        int, typer.Option(min=1, help="Runs of each fault and size.")
    ] = FAULTY_RUNS,
    answer: Annotated[
        Path | None, typer.Option(help="Folder with a catalog's products.parquet, to answer anew.")
    ] = None,
    category_column: Annotated[
        str | None, typer.Option(help="That table's column with the category.")
    ] = None,
    old_checkpoint: Annotated[
        Path | None, typer.Option(help="An earlier checkpoint, to answer the same catalog.")
    ] = None,
) -> None:
    """Measure false alarms and detected faults of the quality gate."""
    if answer is not None:
        if category_column is None or old_checkpoint is None:
            raise ConfigError("--answer lacks --category-column or --old-checkpoint. Give both")
        write_answers(answer, category_column, old_checkpoint)
    kept = read_answers()
    sound = Answers(kept[Case.SOUND])
    plain = Answers(kept[Case.SOUND].assign(product_category=None))
    baseline = build_baseline(plain.take(np.arange(RUN, RUN + BASELINE)))
    faults = {
        name: Answers(case.rows.assign(product_category=None), case.before)
        for name, case in inject_faults(kept, RUN).items()
    }
    alarms = {
        "sound": {s: measure_false_alarms(plain, s, BASELINE, runs, SETTINGS) for s in _sizes()},
        "sound, limits 0": {
            s: measure_false_alarms(plain, s, BASELINE, runs, NO_TOLERANCE) for s in _sizes()
        },
        "sound, categories": {
            s: measure_false_alarms(sound, s, BASELINE, runs // 4, SETTINGS) for s in _sizes()
        },
        "sound, one category": {
            s: measure_false_alarms_by_category(sound, s, BASELINE, runs, SETTINGS)
            for s in _sizes()
        },
    }
    detected = {
        name: {s: measure_detection(case, s, baseline, faulty_runs, SETTINGS) for s in SIZES}
        for name, case in track(faults.items(), "faulty runs", console=Console(stderr=True))
    }
    show(alarms, detected, faults, baseline, runs)
    cases = {"sound": plain.take(np.arange(RUN)), **faults}
    agrees = compare_with_spark({name: cases[name] for name in IN_SPARK}, baseline)
    rate = max(rates[size] for rates in alarms.values() for size in rates)
    found = {
        name: {str(size): share for size, share in of.items()} for name, of in detected.items()
    }
    typer.echo(json.dumps({"runs": runs, "false_alarm_rate": rate, "detected": found}))
    raise typer.Exit(0 if agrees and is_good(rate, detected) else 1)


def is_good(false_alarms: float, detected: Mapping[str, Mapping[int, float]]) -> bool:
    """Return whether sound runs pass and faulty ones of SURE_SIZE or more do not.

    An earlier checkpoint may pass: the more it answers as the new one does, the less there is to
    find.
    """
    faults = [
        share
        for name, shares in detected.items()
        for size, share in shares.items()
        if name != Case.OLD_CHECKPOINT and size >= SURE_SIZE
    ]
    return false_alarms <= MOST_FALSE_ALARMS and min(faults) >= LEAST_DETECTED


def show(
    alarms: Blocked,
    detected: Blocked,
    faults: Mapping[str, Answers],
    baseline: LabelBaseline,
    runs: int,
) -> None:
    """Print how many runs were blocked, and what blocks a faulty run of all products."""
    sizes = [f"{size:,} products" for size in SIZES]
    table = Table("runs", *sizes, "blocked by", title="runs that the gate blocks")
    for name, rates in alarms.items():
        table.add_row(name, *(f"{rates[s]:.1%}" for s in SIZES), f"{runs:,} runs of each size")
    table.add_section()
    for name, rates in detected.items():
        reasons = list(find_reasons(faults[name], baseline, SETTINGS))[:SHOWN_REASONS]
        told = "\n".join(f"{one.attribute or ''} {one.expectation}".strip() for one in reasons)
        table.add_row(name, *(f"{rates[size]:.1%}" for size in SIZES), told)
    console.print(table, markup=False)


def compare_with_spark(cases: Mapping[str, Answers], baseline: LabelBaseline) -> bool:
    """Return whether Spark and Great Expectations block by the same checks as the benchmark."""
    spark = open_session("bench_gate")
    table = Table("run", "blocked", "same checks", title="by Spark and Great Expectations")
    agrees = True
    for name, case in cases.items():
        found = check_by_gate(spark, case, baseline, SETTINGS)
        same = found == set(find_reasons(case, baseline, SETTINGS))
        agrees &= same
        table.add_row(name, "yes" if found else "no", "yes" if same else "NO")
    console.print(table)
    return agrees


def _sizes() -> list[int]:
    return list(track(SIZES, "sound runs", console=Console(stderr=True)))


if __name__ == "__main__":
    run_command(main, explain_failure)
