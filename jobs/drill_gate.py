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
import logging
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
from enrich.demo.drill import SEED, answer_products, digest_products, draw_products, sample_products
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

SETTINGS = ValidationSettings()
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
        keep_old_answers(*answer_products(work, keep_old, folder, products[:RUN]), products[:RUN])
    categories = read_categories(folder, products, category_column)
    sound = read_answers(*answer_products(work, BUNDLED, folder, products), categories)
    known = sound.take(np.arange(RUN))
    baseline = build_baseline(sound.take(np.arange(RUN, len(products))))
    cases = {"sound": Case(known, known)} | build_label_faults(known)
    for fault in Fault:
        table = answer_products(work, BUNDLED, folder, products[:RUN], fault)
        cases[str(fault)] = Case(read_answers(*table, known.categories))
    if catalog is None:
        old = read_old_answers(products[:RUN])
        cases["old_checkpoint"] = Case(read_answers(known.model_version, old, None))

    alarms = {size: count_false_alarms(sound, size, resamples) for size in SIZES}
    found = {
        name: {size: count_detected(case, baseline, size) for size in SIZES}
        for name, case in cases.items()
        if name != "sound"
    }
    show(alarms, found, baseline, cases, resamples)
    agrees = compare_with_spark({name: cases[name] for name in IN_SPARK}, baseline)
    detected = {name: by_size[RUN] for name, by_size in found.items()}
    rate = max(alarms.values())
    summary = {"resamples": resamples, "false_alarm_rate": rate, "detected": detected}
    typer.echo(json.dumps(summary))
    good = agrees and rate <= WANTED_FALSE_ALARMS and min(detected.values()) == 1
    raise typer.Exit(0 if good else 1)


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
    attributes = [name for name in table.column_names if f"{name}_confidence" in table.column_names]
    return Answers(
        model_version,
        {a: Coded.encode(table[a].to_pylist(), ABSTAINED) for a in attributes},
        {a: table[f"{a}_confidence"].to_numpy().astype(float) for a in attributes},
        Coded.encode(table["modalities"].to_pylist(), "none"),
        categories,
    )


def keep_old_answers(model_version: str, table: pa.Table, products: list[Product]) -> None:
    """Writes a checkpoint's answers, and beside them where they come from."""
    small = {}
    for name in table.column_names:
        if f"{name}_confidence" in table.column_names:
            small[name] = table[name].dictionary_encode()
            numbers = table[f"{name}_confidence"].to_numpy().astype(np.float16)
            small[f"{name}_confidence"] = pa.array(numbers)
    small["modalities"] = table["modalities"].dictionary_encode()
    OLD_ANSWERS.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(small), OLD_ANSWERS, compression="zstd")
    origin = {
        "what": "answers of an earlier bundled checkpoint to drawn products, without flaws",
        "model_version": model_version,
        "products": len(products),
        "seed": SEED,
        "digest_of_products": digest_products(products),
        "made_by": "jobs/drill_gate.py --keep-old CHECKPOINT_FOLDER",
    }
    OLD_ANSWERS.with_suffix(".json").write_text(json.dumps(origin, indent=2) + "\n")


def read_old_answers(products: list[Product]) -> pa.Table:
    """Returns the kept answers of an old checkpoint to these products.

    Raises:
        ConfigError: they are about other products.
    """
    origin = json.loads(OLD_ANSWERS.with_suffix(".json").read_text())
    if origin["digest_of_products"] != digest_products(products):
        raise ConfigError(
            f"{OLD_ANSWERS} is about other products than the demo generator draws now: take "
            f"{origin['model_version']} from the history of {BUNDLED.name} and give its folder "
            "to --keep-old"
        )
    return pq.read_table(OLD_ANSWERS)


def build_label_faults(known: Answers) -> dict[str, Case]:
    """Returns the runs whose labels went wrong after the classifier."""
    rng = np.random.default_rng(SEED)
    return {
        **{f"{a}_stuck": Case(stick_to_commonest(known, a)) for a in known.labels},
        **{f"{a}_labels_permuted": Case(rename_labels(known, a)) for a in known.labels},
        "answers_of_others": Case(give_to_others(known, rng), before=known),
    }


def count_false_alarms(sound: Answers, size: int, resamples: int) -> float:
    """Returns the share of sound runs that are stopped; run and baseline share no product."""
    rng = np.random.default_rng([SEED, size])
    stopped = 0
    for _ in track(range(resamples), f"sound runs of {size:,}", console=Console(stderr=True)):
        order = rng.permutation(len(sound))
        baseline = build_baseline(sound.take(order[-BASELINE:]))
        stopped += any(check.blocks for check in Case(sound).check(baseline, order[:size]))
    return stopped / resamples


def count_detected(case: Case, baseline: LabelBaseline, size: int) -> float:
    """Returns the share of faulty runs that are stopped."""
    rng = np.random.default_rng([SEED, size])
    drawn = (rng.integers(len(case.answers), size=size) for _ in range(FAULTY_RESAMPLES))
    stopped = sum(any(check.blocks for check in case.check(baseline, run)) for run in drawn)
    return stopped / FAULTY_RESAMPLES


def show(
    alarms: dict[int, float],
    found: dict[str, dict[int, float]],
    baseline: LabelBaseline,
    cases: dict[str, Case],
    resamples: int,
) -> None:
    """Prints how many runs were stopped, and what stops a faulty run of all products."""
    sizes = [f"{size:,} products" for size in SIZES]
    table = Table("runs", *sizes, "stopped by", title="runs that the gate stops")
    rates = [f"{alarms[size]:.1%}" for size in SIZES]
    table.add_row(f"sound, {resamples:,} of each size", *rates, "")
    for name, by_size in found.items():
        checks = cases[name].check(baseline, np.arange(RUN))
        reasons = dict.fromkeys(
            f"{check.about or 'all'}: {check.expectation.removeprefix('expect_')}"
            for check in checks
            if check.blocks
        )
        shares = [f"{by_size[size]:.0%}" for size in SIZES]
        table.add_row(name, *shares, "\n".join(list(reasons)[:3]))
    console.print(table, markup=False)


def compare_with_spark(cases: dict[str, Case], baseline: LabelBaseline) -> bool:
    """Returns whether Spark and Great Expectations come to the same checks as the drill."""
    # Seconds to import, which somebody who asks for --help should not wait for.
    from expectations.validation import validate_staged

    logging.getLogger("py4j").setLevel(logging.ERROR)
    spark = open_session("drill_gate")
    table = Table("run", "checks", "stopped", "same as above", title="by Spark and GX")
    agrees = True
    for name, case in cases.items():
        drilled = case.check(baseline, np.arange(RUN))
        report = validate_staged(
            spark.createDataFrame(as_rows(case.answers)),
            None if case.before is None else spark.createDataFrame(as_rows(case.before)),
            {a: column.names for a, column in case.answers.labels.items()},
            baseline,
            run_id=f"drill-{name}",
            expected_rows=RUN,
            docs_dir=None,
            settings=SETTINGS,
        )
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


def as_rows(answers: Answers) -> Any:
    """Returns the answers as a pandas table with the columns of `staged_attributes`."""
    import pandas as pd

    ids = [f"product-{number}" for number in range(len(answers))]
    columns: dict[str, Any] = {"product_id": ids, "content_hash": ids}
    columns["modalities"] = answers.modalities.values()
    columns["model_version"] = answers.model_version
    if answers.categories is not None:
        columns["category"] = answers.categories.values()
    for attribute, column in answers.labels.items():
        labels = column.values()
        columns[attribute] = [None if label == ABSTAINED else str(label) for label in labels]
        columns[f"{attribute}_confidence"] = answers.confidences[attribute]
    return pd.DataFrame(columns)


if __name__ == "__main__":
    run_command(main)
