"""Benchmark of inference by stages, and of other systems.

The stages are two upper bounds (the forward pass alone and decoding alone), the engine, and the
Spark job around it. An engine in one process cannot be faster than the bounds; the job has several
processes. Other systems are other ways to run a model over a table.

    python -m bench.inference --products 2000 --sizes 600 --checkpoint vit-b-32
    python -m bench.inference --without-peers
    python -m bench.inference --without-spark
    python -m bench.inference --products 20000 --batch-size 256 --checkpoint vit-l-14

Pictures and CLIP-sized checkpoints are generated. Each combination prints a line of JSON as soon as
it is measured; the last line has all of them.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from bench.checkpoints import CLIPS, write_clip_checkpoint
from bench.ratios import PEERS, compare, find_worst
from bench.setup import Setup
from bench.shop import write_shop
from bench.tables import draw_peers_table, draw_table
from bench.turns import CHECKOUT, Figures, floor_of, measure
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.cli import run_command
from enrich.config import JobConfig
from enrich.errors import ConfigError

# Larger pictures are refused by the engine.
_LARGEST_PX = math.isqrt(JobConfig().image_limits.max_pixels)


def main(
    products: Annotated[int, typer.Option(min=10, help="Products a run.")] = 2_000,
    sizes: Annotated[
        list[int] | None,
        typer.Option(min=32, max=_LARGEST_PX, help="Pixels of a picture's side."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help=f"'bundled', {', '.join(CLIPS)} (random weights), or a folder."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Products a forward pass.")
    ] = JobConfig().batch_size,
    repetitions: Annotated[int, typer.Option(min=1, help="Runs of every stage.")] = 3,
    without_spark: Annotated[
        bool, typer.Option("--without-spark", help="Floors and engine only.")
    ] = False,
    peers: Annotated[
        bool, typer.Option("--peers/--without-peers", help="Others' ways to do the same.")
    ] = True,
    folder: Annotated[
        Path, typer.Option(help="Where generated pictures and checkpoints are kept.")
    ] = CHECKOUT / "build" / "bench",
) -> None:
    """Time inference by stages."""
    folder = folder.resolve()  # runners are started from the checkout
    # A wrong name fails now, and not after the hours that the first checkpoint takes.
    places = {name: find_checkpoint(name, folder) for name in checkpoint or ["bundled", "vit-b-32"]}
    modules = choose_modules(with_spark=not without_spark, with_peers=peers)
    runs = []
    for name, place in places.items():
        for side_px in sizes or [224, 600, 1_000]:
            setup = Setup(
                products_file=write_shop(folder / f"shop-{side_px}-{products}", products, side_px),
                checkpoint=place,
                cores=torch.get_num_threads(),
                products=products,
                batch_size=batch_size,
            )
            figures = measure(modules, setup, repetitions, warn)
            runs.append({"checkpoint": name, "side_px": side_px, **summarise(figures)})
            typer.echo(json.dumps(runs[-1]))
    # Rich takes a log, which has no width, for a narrow screen.
    console = Console(width=160)
    console.print(draw_table(runs))
    if peers:
        console.print(draw_peers_table(runs))
    worst = find_worst([run["ratios"] for run in runs])
    typer.echo(json.dumps(worst | {"runs": runs}))


def warn(line: str) -> None:
    """Print a warning about the figures on standard error."""
    typer.secho(line, fg=typer.colors.RED, bold=True, err=True)


def choose_modules(*, with_spark: bool, with_peers: bool) -> list[str]:
    """Return the systems to run; others are compared with the Spark job, on a CPU."""
    modules = ["bench.engine_stages"]
    if with_spark:
        modules.append("bench.spark_job")
    if with_spark and with_peers:
        if torch.cuda.is_available():
            warn("NOT MEASURED: the peers, which are written for a CPU")
        else:
            modules += [f"bench.peers.{peer}" for peer in PEERS]
    return modules


def find_checkpoint(name: str, folder: Path) -> Path:
    """Return a checkpoint's folder; make a missing checkpoint of CLIP's size.

    Raises:
        ConfigError: the checkpoint is missing or incomplete.
    """
    if name in CLIPS:
        place = write_clip_checkpoint(folder / name, name)
    else:
        place = BUNDLED if name == "bundled" else Path(name).resolve()
    if not place.is_dir():
        known = ", ".join(["bundled", *CLIPS])
        raise ConfigError(f"no folder {name}; wanted: {known}, or the folder of a checkpoint")
    return read_manifest(place).folder


def summarise(figures: dict[str, Figures]) -> dict[str, Any]:
    """Return the upper bound, the ratios, and the figures behind them."""
    floor = floor_of(figures, is_gpu=torch.cuda.is_available())
    return {
        "floor": round(floor, 1),
        "ratios": compare(figures, floor),
        "figures": {name: dataclasses.asdict(one) for name, one in figures.items()},
    }


if __name__ == "__main__":
    run_command(main)
