"""What is faster than what, and by how much: ratios of figures from one run, above 1 for ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.peers.stages import SAME_ARITHMETIC
from bench.turns import Figures

PEERS = ("predict_batch_udf", "naive_udf", "ray_data", "daft")
# These are measured in the engine's precision too. Whoever calls a model row by row cares for none.
CAREFUL_PEERS = tuple(peer for peer in PEERS if peer != "naive_udf")


def compare(figures: Mapping[str, Figures], floor: float) -> dict[str, Any]:
    """Returns the engine against the floor, and the job against the engine and the peers.

    None where one of the two was not measured. `same_arithmetic` are the peers in the engine's
    precision and with its way with freed memory: what is left there is the pipeline.
    """
    speeds = {stage: one.products_per_second for stage, one in figures.items()}

    def against(stage: str) -> float | None:
        return _divide(speeds.get("job"), speeds.get(stage))

    return {
        "engine_to_floor": _divide(speeds["engine"], floor),
        "job_to_engine": against("engine"),
        **{f"vs_{peer}": against(peer) for peer in PEERS},
        "same_arithmetic": {f"vs_{p}": against(p + SAME_ARITHMETIC) for p in CAREFUL_PEERS},
    }


def find_worst(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the least of each ratio over all runs; None where no run has it."""
    worst: dict[str, Any] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(first, Mapping):
            worst[name] = find_worst(values)
        else:
            worst[name] = min((one for one in values if one is not None), default=None)
    return worst


def _divide(ours: float | None, other: float | None) -> float | None:
    return None if ours is None or other is None else round(ours / other, 3)
