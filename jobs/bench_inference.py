"""Times inference by stages: the two floors, the engine, the Spark job around it, and its peers.

    python jobs/bench_inference.py --products 2000 --sizes 600 --checkpoint vit-b-32
    python jobs/bench_inference.py --without-peers
    python jobs/bench_inference.py --without-spark
    python jobs/bench_inference.py --products 20000 --batch-size 256 --checkpoint vit-l-14

Pictures and CLIP-sized checkpoints are generated. A plot is written beside them. The last line on
standard output is one JSON object.
"""

import dataclasses
import importlib.util
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
from bench.peers.stages import SAME_ARITHMETIC  # noqa: E402
from bench.ratios import PEERS, compare, find_worst  # noqa: E402
from bench.setup import Setup  # noqa: E402
from bench.shop import write_shop  # noqa: E402
from enrich.classifiers.manifest import BUNDLED  # noqa: E402
from enrich.command_line import run_command  # noqa: E402
from enrich.config import JobConfig  # noqa: E402

STAGES = ("forward", "decode", "engine", "job")


def main(
    products: Annotated[int, typer.Option(min=10, help="Products a run.")] = 2_000,
    sizes: Annotated[list[int] | None, typer.Option(help="Pixels of a picture's side.")] = None,
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
        Path, typer.Option(help="Where generated pictures, checkpoints and the plot are kept.")
    ] = CHECKOUT / "build" / "bench",
) -> None:
    """Times inference by stages."""
    folder = folder.resolve()  # contenders are started from the checkout
    modules = choose_modules(with_spark=not without_spark, with_peers=peers)
    runs = []
    for name in checkpoint or ["bundled", "vit-b-32"]:
        for side_px in sizes or [224, 600, 1_000]:
            setup = Setup(
                products_file=write_shop(folder / f"shop-{side_px}-{products}", products, side_px),
                checkpoint=find_checkpoint(name, folder),
                cores=torch.get_num_threads(),
                products=products,
                batch_size=batch_size,
            )
            figures = measure(modules, setup, repetitions, warn)
            runs.append({"checkpoint": name, "side_px": side_px, **summarise(figures)})
    # In a log as wide as on a screen.
    console = Console(width=160)
    console.print(draw_table(runs))
    if peers:
        console.print(draw_peers_table(runs))
    plot(runs, folder / "products-per-second.png")
    worst = find_worst([run["ratios"] for run in runs])
    typer.echo(json.dumps(worst | {"runs": runs}))


def warn(line: str) -> None:
    """Says on standard error what a reader of the figures must not miss."""
    typer.secho(line, fg=typer.colors.RED, bold=True, err=True)


def choose_modules(*, with_spark: bool, with_peers: bool) -> list[str]:
    """Returns the contenders; the peers are held against the Spark job, on a CPU."""
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
    """Returns a checkpoint's folder; one of CLIP's size is made where it is not there yet."""
    if name in CLIPS:
        return write_clip_checkpoint(folder / name, name)
    return BUNDLED if name == "bundled" else Path(name).resolve()


def summarise(figures: dict[str, Figures]) -> dict[str, Any]:
    """Returns the floor, the ratios, and the figures behind them."""
    floor = floor_of(figures, is_gpu=torch.cuda.is_available())
    return {
        "floor": round(floor, 1),
        "ratios": compare(figures, floor),
        "figures": {name: dataclasses.asdict(one) for name, one in figures.items()},
    }


def draw_table(runs: list[dict[str, Any]]) -> Table:
    """Returns the products a second of every stage of ours, a row a combination."""
    table = Table("checkpoint", "px", *STAGES, "floor", "engine/floor", "job/engine")
    for run in runs:
        table.add_row(
            run["checkpoint"],
            str(run["side_px"]),
            *(show_speed(run, stage) for stage in STAGES),
            f"{run['floor']:.1f}",
            show_ratio(run["ratios"]["engine_to_floor"]),
            show_ratio(run["ratios"]["job_to_engine"]),
        )
    return table


def draw_peers_table(runs: list[dict[str, Any]]) -> Table:
    """Returns the peers' products a second, and in brackets how many times as many the job does."""
    table = Table("checkpoint", "px", "peers compute", "job", *PEERS)
    for run in runs:
        as_documented, as_ours = run["ratios"], run["ratios"]["same_arithmetic"]
        for label, suffix, ratios in (
            ("as documented", "", as_documented),
            ("as we do", SAME_ARITHMETIC, as_ours),
        ):
            table.add_row(
                run["checkpoint"],
                str(run["side_px"]),
                label,
                show_speed(run, "job"),
                *(
                    f"{show_speed(run, peer + suffix)} ({show_ratio(ratios.get(f'vs_{peer}'))})"
                    for peer in PEERS
                ),
            )
    return table


def show_speed(run: dict[str, Any], stage: str) -> str:
    """Returns products a second, or a dash for what was not measured."""
    figures = run["figures"].get(stage)
    return f"{figures['products_per_second']:.1f}" if figures else "-"


def show_ratio(ratio: float | None) -> str:
    """Returns a ratio, or a dash for one that there is not."""
    return "-" if ratio is None else f"{ratio:.2f}"


def plot(runs: list[dict[str, Any]], file: Path) -> None:
    """Writes the plot, where there is something to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        warn("NO PLOT: matplotlib is not installed")
        return
    from bench.plot import draw_speeds

    draw_speeds(runs, file)
    typer.echo(f"plot: {file}")


if __name__ == "__main__":
    run_command(main)
