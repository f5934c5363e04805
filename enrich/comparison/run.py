"""Evaluates checkpoints on the same products, under the same conditions and the same draws.

Knows nothing of how the result is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from enrich.comparison.bootstrap import Replicates, draw_groups
from enrich.comparison.checkpoint_plots import ByCondition, draw_checkpoint
from enrich.comparison.contenders import Contender
from enrich.comparison.cost import (
    count_flops,
    count_parameters,
    describe_machine,
    measure_size,
    measure_speeds,
)
from enrich.comparison.figure import file_name
from enrich.comparison.overview_plot import draw_overview
from enrich.comparison.records import Record, measure_with_intervals, subtract
from enrich.comparison.shops import LabelledShop
from enrich.errors import ConfigError
from enrich.progress import say
from enrich.training.batches import Batches
from enrich.training.conditions import Condition
from enrich.training.evaluation import answer, apply_calibration
from enrich.training.labelled import UNLABELLED, LabelledProducts

_SPEED_BATCH = 64
Key = tuple[str, str]  # condition and attribute


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured, as records of plain values.

    `figures` has a record for each checkpoint, shop, condition and attribute. `differences` has the
    same for every checkpoint but the first: its figures less the first one's, on the same draws.
    `costs` has one a checkpoint; `machine` says what its speed was measured on. `fitted_to` maps
    each checkpoint that was fitted to labelled products of shops to their names.
    """

    machine: str
    costs: list[Record]
    figures: list[Record]
    differences: list[Record]
    fitted_to: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a comparison computes, keeps pixels and image features, and puts its plots."""

    device: torch.device
    cache: Path
    plots: Path


def compare(
    contenders: Sequence[Contender],
    shops: Sequence[LabelledShop],
    replicates: int,
    workplace: Workplace,
) -> Comparison:
    """Evaluates every checkpoint in every shop and draws the plots.

    Args:
        contenders: The loaded checkpoints; the others are compared with the first.
        shops: Labelled catalogs.
        replicates: Bootstrap draws behind each interval.
        workplace: The plots are `overview.png` and `<checkpoint>/<shop>/*.png` there.

    Raises:
        ConfigError: a catalog cannot be read, or holds nothing to evaluate on.
    """
    # Before anything is computed, so that a wrong folder shows at once.
    products = [_load_for_each(contenders, shop) for shop in shops]
    figures, differences = [], []
    for shop, by_contender in zip(shops, products, strict=True):
        draws = draw_groups(int(by_contender[0].groups.max()) + 1, replicates)
        measured = [
            _evaluate(contender, shop, labelled, draws, workplace)
            for contender, labelled in zip(contenders, by_contender, strict=True)
        ]
        for contender, own in zip(contenders, measured, strict=True):
            figures += [record for record, _ in own.values()]
            if contender is not contenders[0]:
                differences += _differences(own, measured[0], _shared(contender, contenders[0]))
    draw_overview(figures, workplace.plots / "overview.png")
    costs = _measure_costs(contenders, products[0], workplace)
    fitted_to = {one.name: one.fitted_to for one in contenders if one.fitted_to}
    return Comparison(describe_machine(workplace.device), costs, figures, differences, fitted_to)


def _load_for_each(contenders: Sequence[Contender], shop: LabelledShop) -> list[LabelledProducts]:
    """Returns the products with each checkpoint's own label numbers, read once a label set."""
    label_sets = [tuple(contender.attributes.items()) for contender in contenders]
    loaded = {labels: shop.load(dict(labels)) for labels in dict.fromkeys(label_sets)}
    return [loaded[labels] for labels in label_sets]


def _evaluate(
    contender: Contender,
    shop: LabelledShop,
    products: LabelledProducts,
    draws: Float[Tensor, "R G"],
    workplace: Workplace,
) -> dict[Key, tuple[Record, Replicates]]:
    """Returns the figures of one checkpoint in one shop, and draws the plots of the two."""
    title = f"{contender.name} on {shop.title}"
    say(f"{title}: {len(products):,} products")
    batches = contender.batches(products, workplace.cache)
    batches.see_once(contender.classifier)
    answered = _ask(contender, batches)
    folder = workplace.plots / file_name(contender.name) / file_name(shop.title)
    draw_checkpoint(answered, contender.attributes, title, folder)
    measured = {}
    for condition, by_attribute in answered.items():
        for attribute, answers in by_attribute.items():
            record, replicates = measure_with_intervals(answers, draws)
            where = {
                "checkpoint": contender.name,
                "shop": shop.title,
                "condition": condition.value,
                "attribute": attribute,
            }
            measured[condition.value, attribute] = where | record, replicates
    return measured


def _ask(contender: Contender, batches: Batches) -> ByCondition:
    """Returns the calibrated answers under every condition, attributes without a label left out."""
    rows = batches.readable(np.arange(len(batches.products)))
    if (batches.products.targets[rows] == UNLABELLED).all():
        raise ConfigError(
            f"no labelled product of {batches.products.image_roots[0]} has a text or a picture "
            "that can be read; wanted: titles, or images under that folder"
        )
    return {
        condition: {
            attribute: apply_calibration(contender.manifest.calibration, attribute, answers)
            for attribute, answers in answer(contender.classifier, batches, rows, condition).items()
            if len(answers)
        }
        for condition in Condition
    }


def _shared(one: Contender, other: Contender) -> set[str]:
    """Returns the attributes that both answer with the same labels: only these are comparable.

    In which order does not matter, as no figure depends on it.
    """
    return {a for a, own in one.attributes.items() if {*own} == {*other.attributes.get(a, ())}}


def _differences(
    own: Mapping[Key, tuple[Record, Replicates]],
    first: Mapping[Key, tuple[Record, Replicates]],
    attributes: set[str],
) -> list[Record]:
    return [
        subtract(*measured, *first[key]) for key, measured in own.items() if key[1] in attributes
    ]


def _measure_costs(
    contenders: Sequence[Contender], products: Sequence[LabelledProducts], workplace: Workplace
) -> list[Record]:
    turns = []
    for contender, labelled in zip(contenders, products, strict=True):
        batches = contender.batches(labelled, workplace.cache)
        rows = batches.readable(np.arange(len(labelled)))[:_SPEED_BATCH]
        (inputs,) = batches.evaluation(rows, Condition.AS_IS, _SPEED_BATCH)
        turns.append((contender.classifier, inputs))
    costs = []
    for contender, speed in zip(contenders, measure_speeds(turns, workplace.device), strict=True):
        stored = contender.as_stored()
        parameters, pretrained = count_parameters(stored)
        costs.append(
            {
                "checkpoint": contender.name,
                "classifier": contender.manifest.config.classifier,
                "parameters": parameters,
                "pretrained_parameters": pretrained,
                "flops_per_product": count_flops(stored),
                "products_per_second": round(speed, 1),
                "checkpoint_bytes": measure_size(contender.manifest.folder),
            }
        )
    return costs
