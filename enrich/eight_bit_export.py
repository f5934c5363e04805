"""Writes a checkpoint again as one that computes in eight bits, where it answers as it did.

Knows nothing of how eight bits are computed with.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from enrich.classifiers.checkpoint import (
    add_to_card,
    derived_checkpoint,
    read_metrics,
    write_metrics,
)
from enrich.classifiers.manifest import Manifest
from enrich.engine import Engine
from enrich.errors import ConfigError, ExportRefused
from enrich.markdown import Table, escape, to_markdown
from enrich.progress import watch
from enrich.records import EnrichedProduct, Prediction, Product
from enrich.spec import default_spec
from enrich.training.calibration import wilson_lower_bound

# A GPU computes with the weights as they are stored.
_DEVICE = torch.device("cpu")
# What is answered before the time is taken: the first pass of a layer finds its kernels.
_WARM_UP = 64
# Both take turns of so many products: whichever went first would pay for what a process does once,
# and for what else the machine was doing.
_TURN = 64


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of the answers to one attribute are the same before and after.

    `same` counts what the tables show: the label, or NULL where the classifier abstains.
    `same_best` counts the best label, abstained on or not: where nothing is answered, the first
    says nothing. `mean_move` and `largest_move` are of the confidence, in [0, 1].
    """

    products: int
    same: int
    same_best: int
    mean_move: float
    largest_move: float

    @property
    def at_least(self) -> float:
        """What the smaller of both shares is at least, in nine of ten samples."""
        same = torch.tensor(min(self.same, self.same_best), dtype=torch.double)
        return float(wilson_lower_bound(same, torch.tensor(self.products, dtype=torch.double)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both checkpoints on the same products: agreement by attribute, and CPU time a product."""

    attributes: dict[str, Agreement]
    cpu_ms_before: float
    cpu_ms_after: float

    @property
    def speedup(self) -> float:
        """How many times as many products a second; above 1 where eight bits are faster."""
        return self.cpu_ms_before / self.cpu_ms_after


def compare(manifest: Manifest, image_root: str, products: Sequence[Product]) -> Comparison:
    """Answers the products twice: as the checkpoint does, and with its linear layers in eight bits.

    Raises:
        ConfigError: there are no products, or none of them can be read.
        CheckpointError: this machine cannot compute in eight bits.
    """
    if not products:
        raise ConfigError("there are no products to compare answers of: give another --catalog")
    spec = default_spec(manifest, image_root)
    in_eight_bits = replace(manifest, config=manifest.config.model_copy(update={"int8": True}))
    engines = [Engine(spec, one, _DEVICE) for one in (manifest, in_eight_bits)]
    (before, cpu_ms_before), (after, cpu_ms_after) = _answer_in_turn(engines, products)
    # An image may be out of reach for one of them.
    pairs = [
        pair
        for one, other in zip(before, after, strict=True)
        if one.modalities is not None and one.modalities == other.modalities
        for pair in zip(one.predictions, other.predictions, strict=True)
    ]
    if not pairs:
        raise ConfigError(
            f"none of the {len(products)} products can be read, so nothing can be compared: look "
            "at --image-root"
        )
    return Comparison(
        {a: _agree([pair for pair in pairs if pair[0].attribute == a]) for a in spec.attributes},
        cpu_ms_before,
        cpu_ms_after,
    )


def refuse_other_answers(comparison: Comparison, least: float) -> None:
    """Raises unless each attribute's answers and best labels stay, surely, in a share of `least`.

    Raises:
        ExportRefused: they are not, or the products are too few to tell.
    """
    short = [
        f"{attribute} stays in {min(one.same, one.same_best):,} of {one.products:,}, "
        f"which is surely {one.at_least:.3f}"
        for attribute, one in comparison.attributes.items()
        if one.at_least < least
    ]
    if short:
        raise ExportRefused(
            f"nothing is written, because answers may change: {'; '.join(short)}. Wanted: "
            f"{least:g}. Give a larger --sample if it is a matter of too few, else use the "
            "checkpoint as it is"
        )


def write_exported(manifest: Manifest, name: str, comparison: Comparison, output: Path) -> None:
    """Writes the checkpoint's folder, with the comparison in its metrics and on its card."""
    config = manifest.config.model_copy(update={"name": name, "int8": True})
    with derived_checkpoint(manifest, config, output) as partial:
        write_metrics(partial, read_metrics(partial) | {"int8": summarise(comparison)})
        add_to_card(
            partial,
            f"## In eight bits\n\nThe linear layers of {escape(manifest.config.name)}, content "
            f"{manifest.digest}, compute in eight bits here. The figures above are those of the "
            f"checkpoint before.\n\n{to_report(comparison)}",
        )


def to_report(comparison: Comparison) -> str:
    """Returns the comparison as Markdown."""
    rows = [
        [
            attribute,
            f"{one.products:,}",
            f"{one.same / one.products:.4f}",
            f"{one.same_best / one.products:.4f}",
            f"{one.at_least:.4f}",
            f"{one.mean_move:.4f}",
            f"{one.largest_move:.3f}",
        ]
        for attribute, one in comparison.attributes.items()
    ]
    columns = (
        "attribute",
        "products",
        "same answer",
        "same best label",
        "surely",
        "confidence moves by",
        "at most",
    )
    return (
        f"{to_markdown(Table('The same products, before and in eight bits', columns, [rows]))}\n"
        f"A product takes {comparison.cpu_ms_before:.1f} ms of a core before and "
        f"{comparison.cpu_ms_after:.1f} in eight bits, reading and decoding included: "
        f"{comparison.speedup:.2f} times as fast.\n"
    )


def summarise(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison as plain values."""
    return {
        "cpu_ms_before": round(comparison.cpu_ms_before, 2),
        "cpu_ms_after": round(comparison.cpu_ms_after, 2),
        "speedup": round(comparison.speedup, 2),
        "attributes": {
            attribute: {
                "products": one.products,
                "same": one.same,
                "surely": round(one.at_least, 4),
                "same_best": one.same_best,
                "mean_move": round(one.mean_move, 5),
                "largest_move": round(one.largest_move, 4),
            }
            for attribute, one in comparison.attributes.items()
        },
    }


def _answer_in_turn(
    engines: Sequence[Engine], products: Sequence[Product]
) -> list[tuple[list[EnrichedProduct], float]]:
    """Returns each engine's answers, and the CPU time that one takes in milliseconds."""
    for engine in engines:
        list(engine.enrich(products[:_WARM_UP]))
    answers: list[list[EnrichedProduct]] = [[] for _ in engines]
    seconds = [0.0 for _ in engines]
    order = list(range(len(engines)))
    turns = range(0, len(products), _TURN)
    for start in watch(turns, "as it is and in eight bits", len(turns)):
        for which in order:
            begin = time.process_time()
            answers[which] += engines[which].enrich(products[start : start + _TURN])
            seconds[which] += time.process_time() - begin
        order.reverse()
    return [
        (one, 1_000 * taken / len(products)) for one, taken in zip(answers, seconds, strict=True)
    ]


def _agree(pairs: Sequence[tuple[Prediction, Prediction]]) -> Agreement:
    moves = [abs(one.confidence - other.confidence) for one, other in pairs]
    return Agreement(
        products=len(pairs),
        same=sum(_shown(one) == _shown(other) for one, other in pairs),
        same_best=sum(one.label == other.label for one, other in pairs),
        mean_move=sum(moves) / len(moves),
        largest_move=max(moves),
    )


def _shown(prediction: Prediction) -> str | None:
    return None if prediction.abstained else prediction.label
