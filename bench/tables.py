"""The figures of all runs as tables for a terminal: our stages, and the peers beside the job."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from bench.peers.stages import SAME_ARITHMETIC
from bench.ratios import PEERS

_STAGES = ("forward", "decode", "engine", "job")


def draw_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Returns the products a second of every stage of ours, a row a combination."""
    table = Table("checkpoint", "px", *_STAGES, "floor", "engine/floor", "job/engine")
    for run in runs:
        table.add_row(
            run["checkpoint"],
            str(run["side_px"]),
            *(_show_speed(run, stage) for stage in _STAGES),
            f"{run['floor']:.1f}",
            _show_ratio(run["ratios"]["engine_to_floor"]),
            _show_ratio(run["ratios"]["job_to_engine"]),
        )
    return table


def draw_peers_table(runs: Sequence[Mapping[str, Any]]) -> Table:
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
                _show_speed(run, "job"),
                *(
                    f"{_show_speed(run, peer + suffix)} ({_show_ratio(ratios.get(f'vs_{peer}'))})"
                    for peer in PEERS
                ),
            )
    return table


def _show_speed(run: Mapping[str, Any], stage: str) -> str:
    """Returns products a second, or a dash for what was not measured."""
    figures = run["figures"].get(stage)
    return f"{figures['products_per_second']:.1f}" if figures else "-"


def _show_ratio(ratio: float | None) -> str:
    """Returns a ratio, or a dash for one that there is not."""
    return "-" if ratio is None else f"{ratio:.2f}"
