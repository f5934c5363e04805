"""Times inference by stages: the two floors, the engine, and the Spark job around it.

    python jobs/bench_inference.py --products 2000 --sizes 600 --checkpoint vit-b-32
    python jobs/bench_inference.py --without-spark

Pictures and CLIP-sized checkpoints are generated. The last line on standard output is one JSON
object.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

CHECKOUT = Path(__file__).resolve().parent.parent
# Its contenders are processes of their own, started from the checkout: it is no installed package.
sys.path.insert(0, str(CHECKOUT))

from bench.checkpoints import CLIPS, write_clip_checkpoint  # noqa: E402
from bench.contest import Figures, floor_of, measure  # noqa: E402
from bench.setup import Setup  # noqa: E402
from bench.shop import write_shop  # noqa: E402
from enrich.classifiers.manifest import BUNDLED  # noqa: E402
from enrich.command_line import run_command  # noqa: E402

STAGES = ("forward", "decode", "engine", "job")


def main(
    products: Annotated[int, typer.Option(min=1, help="Products a run.")] = 2_000,
    sizes: Annotated[list[int] | None, typer.Option(help="Pixels of a picture's side.")] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help=f"'bundled', {', '.join(CLIPS)} (random weights), or a folder."),
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Runs of every stage.")] = 3,
    without_spark: Annotated[
        bool, typer.Option("--without-spark", help="Floors and engine only.")
    ] = False,
    folder: Annotated[
        Path, typer.Option(help="Where generated pictures and checkpoints are kept.")
    ] = CHECKOUT / "build" / "bench",
) -> None:
    """Times inference by stages."""
    modules = (
        ["bench.engine_stages"] if without_spark else ["bench.engine_stages", "bench.spark_job"]
    )
    runs = []
    for name in checkpoint or ["bundled", "vit-b-32"]:
        for side_px in sizes or [224, 600, 1_000]:
            setup = Setup(
                products_file=write_shop(folder / f"shop-{side_px}-{products}", products, side_px),
                checkpoint=find_checkpoint(name, folder),
                cores=torch.get_num_threads(),
                products=products,
            )
            figures = measure(modules, setup, repetitions)
            runs.append({"checkpoint": name, "side_px": side_px, **summarise(figures)})
    Console().print(draw_table(runs))
    names = [name for name in ("engine_to_floor", "job_to_engine") if name in runs[0]]
    worst = {name: min(run[name] for run in runs) for name in names}
    typer.echo(json.dumps(worst | {"runs": runs}))


def find_checkpoint(name: str, folder: Path) -> Path:
    """Returns a checkpoint's folder; one of CLIP's size is made where it is not there yet."""
    if name in CLIPS:
        return write_clip_checkpoint(folder / name, name)
    return BUNDLED if name == "bundled" else Path(name)


def summarise(figures: dict[str, Figures]) -> dict[str, Any]:
    """Returns ratios, above 1 where the first is faster, and the figures behind them."""
    floor = floor_of(figures, is_gpu=torch.cuda.is_available())
    engine = figures["engine"].products_per_second
    ratios = {"floor": round(floor, 1), "engine_to_floor": round(engine / floor, 3)}
    if "job" in figures:
        ratios["job_to_engine"] = round(figures["job"].products_per_second / engine, 3)
    return ratios | {"figures": {name: dataclasses.asdict(one) for name, one in figures.items()}}


def draw_table(runs: list[dict[str, Any]]) -> Table:
    """Returns the products a second of every stage, a row a combination."""
    table = Table("checkpoint", "px", *STAGES, "floor", "engine/floor", "job/engine")
    for run in runs:
        speeds = [run["figures"].get(stage, {}).get("products_per_second") for stage in STAGES]
        table.add_row(
            run["checkpoint"],
            str(run["side_px"]),
            *("-" if speed is None else f"{speed:.1f}" for speed in speeds),
            f"{run['floor']:.1f}",
            f"{run['engine_to_floor']:.2f}",
            f"{run['job_to_engine']:.2f}" if "job_to_engine" in run else "-",
        )
    return table


if __name__ == "__main__":
    run_command(main)
