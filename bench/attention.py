"""Deletion test of the attention map that explains answers.

    python -m bench.attention --catalog shop/ --output deletion.png

Patches of a picture are painted white, the usual background of a catalog. Then the confidence of
the original answer is computed again (the deletion metric of Petsiuk et al. 2018, arXiv
1806.07421). If the map marks the evidence of an answer, marked patches cost more confidence than
random ones. Two orders without a map are baselines: from the centre outwards, and the least white
patch first.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from enrich.analysis.bootstrap import draw_groups, interval
from enrich.analysis.compare import LabelledSource, load_checkpoints
from enrich.analysis.explain import joint_attention, require_grid
from enrich.analysis.explanation_figure import new_figure
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.manifest import BUNDLED
from enrich.cli import run_command
from enrich.engine.device import autocast, local_device
from enrich.terminal import Table, print_markdown, to_markdown, watch
from enrich.training.batches import Batches, Condition

_BATCH, _DRAWS, _WHITE = 64, 1000, 255
MARKED, RANDOM, CENTRE, INK = "marked by attention", "random", "central", "least white"
_COLORS = {MARKED: "#0072B2", RANDOM: "#666666", CENTRE: "#E69F00", INK: "#009E73"}


class Drop(NamedTuple):
    """Mean loss of confidence by number of hidden patches, and its draws."""

    mean: Float[Tensor, " K"]
    draws: Float[Tensor, "R K"]


@dataclass(frozen=True, slots=True)
class Deletion:
    """The drops of one condition by attribute and order, of so many products.

    `hidden` are the numbers of hidden patches, of `patches`.
    """

    condition: Condition
    products: int
    patches: int
    hidden: tuple[int, ...]
    drops: dict[str, dict[str, Drop]]


def patch_attention(classifier: Classifier, inputs: ModelInputs) -> Float[Tensor, "B P"]:
    """Return the attention of I'_CLS over the patches, row by row of the picture."""
    grid = require_grid(classifier)
    inputs = inputs.to(classifier.device)
    # Text comes first, and an image tower with a grid starts with its CLS.
    at = classifier.encode_text(inputs).embeds.shape[1]
    return joint_attention(classifier, inputs)[:, at, at + 1 : at + 1 + grid**2]


def hide(
    pixels: UInt8[Tensor, "B 3 S S"], patches: Int[Tensor, "B K"], grid: int
) -> UInt8[Tensor, "B 3 S S"]:
    """Return pictures with these patches of each painted white."""
    shown = torch.ones(len(pixels), grid**2, dtype=torch.bool).scatter_(1, patches, value=False)
    side = pixels.shape[-1] / grid
    cell = (torch.arange(pixels.shape[-1]) / side).long()
    is_shown = shown.unflatten(1, (grid, grid))[:, cell][:, :, cell].unsqueeze(1)
    return torch.where(is_shown, pixels, _WHITE)


def _orders(
    classifier: Classifier, inputs: ModelInputs, random: torch.Generator
) -> dict[str, Int[Tensor, "B P"]]:
    """Return by name the order in which patches are hidden."""
    grid, pixels = classifier.image_tower.grid, inputs.pixel_values
    assert pixels is not None
    rows = len(pixels)
    along = torch.arange(grid) - (grid - 1) / 2
    distance = (along.square()[:, None] + along.square()).flatten()
    # Equal distances in random order.
    ties = torch.rand(rows, grid**2, generator=random) / 100
    ink = torch.nn.functional.adaptive_avg_pool2d(_WHITE - pixels.float().amin(1), grid)
    return {
        MARKED: patch_attention(classifier, inputs).cpu().argsort(1, descending=True),
        RANDOM: torch.rand(rows, grid**2, generator=random).argsort(1),
        CENTRE: (distance + ties).argsort(1),
        INK: ink.flatten(1).argsort(1, descending=True),
    }


def measure_deletion(
    classifier: Classifier, batches: Batches, rows: np.ndarray, condition: Condition
) -> Deletion:
    """Hide patches of each picture in several orders, and measure the lost confidence."""
    classifier.eval()
    patches, random = classifier.image_tower.grid**2, torch.Generator().manual_seed(0)
    hidden = tuple(sorted({1, *(patches * share // 8 for share in (1, 2, 4)), patches}))
    found: dict[tuple[str, str], list[Tensor]] = {}
    parts = batches.evaluation(rows, condition, _BATCH)
    for inputs in watch(parts, "deletion test", -(-len(rows) // _BATCH)):
        pixels = inputs.pixel_values
        assert pixels is not None
        whole = _probabilities(classifier, inputs)
        for order, ranked in _orders(classifier, inputs, random).items():
            shown = [
                hide(pixels, ranked[:, :count], classifier.image_tower.grid) for count in hidden
            ]
            left = [_probabilities(classifier, replace(inputs, pixel_values=one)) for one in shown]
            for attribute, probs in whole.items():
                best = probs.argmax(1, keepdim=True)
                now = torch.cat([one[attribute].gather(1, best) for one in left], dim=1)
                found.setdefault((attribute, order), []).append(probs.gather(1, best) - now)
    groups = np.unique(batches.products.groups[rows], return_inverse=True)[1]
    draws = draw_groups(int(groups.max()) + 1, _DRAWS)[:, groups]
    drops: dict[str, dict[str, Drop]] = {}
    for (attribute, order), each in found.items():
        lost = torch.cat(each)
        drawn = draws @ lost / draws.sum(1, keepdim=True)
        drops.setdefault(attribute, {})[order] = Drop(lost.mean(0), drawn)
    return Deletion(condition, len(rows), patches, hidden, drops)


def _probabilities(classifier: Classifier, inputs: ModelInputs) -> dict[str, Float[Tensor, "B _"]]:
    with torch.inference_mode(), autocast(classifier.device):
        output = classifier(inputs.to(classifier.device))
    return {attribute: one.float().softmax(1).cpu() for attribute, one in output.logits.items()}


def tabulate(deletions: list[Deletion]) -> Table:
    """Return the extra loss by marked patches over other orders, with 95 % intervals."""
    blocks = []
    for one in deletions:
        at = one.hidden.index(one.patches // 4)
        rows = []
        for attribute, drops in one.drops.items():
            marked = drops[MARKED]
            cells = [one.condition.value, attribute, f"{marked.mean[at]:.3f}"]
            for order in (RANDOM, CENTRE, INK):
                low, high = interval((marked.draws - drops[order].draws)[:, at])
                gain = (marked.mean - drops[order].mean)[at]
                cells.append(f"{gain:+.3f} ({low:+.3f} to {high:+.3f})")
            rows.append(cells)
        blocks.append(rows)
    first = deletions[0]
    title = f"Confidence lost with {first.patches // 4} of {first.patches} patches hidden"
    others = (f"more than {order}" for order in (RANDOM, CENTRE, INK))
    return Table(title, ("products", "attribute", MARKED, *others), blocks)


def draw_deletion(deletion: Deletion, title: str, file: Path) -> None:
    """Draw the confidence that hidden patches cost, a panel an attribute."""
    with new_figure(file, title, 3.4 * len(deletion.drops), 3.6) as figure:
        panels = figure.subplots(1, len(deletion.drops), squeeze=False, sharey=True)[0]
        for axes, (attribute, drops) in zip(panels, deletion.drops.items(), strict=True):
            for order, drop in drops.items():
                low, high = drop.draws.quantile(torch.tensor([0.025, 0.975]), dim=0)
                color = _COLORS[order]
                axes.fill_between(deletion.hidden, low, high, color=color, alpha=0.15, lw=0)
                axes.plot(deletion.hidden, drop.mean, "o-", color=color, lw=1.3, label=order)
            axes.set(title=attribute, xlabel=f"patches hidden, of {deletion.patches}")
            axes.grid(axis="y")
        panels[0].set_ylabel("confidence lost")
        panels[0].legend(loc="upper left")


def main(
    catalog: Annotated[Path, typer.Option(help="Labelled catalog; its test groups are read.")],
    output: Annotated[Path, typer.Option(help="PNG file to write.")],
    checkpoint: Annotated[str, typer.Option(help="Classifier checkpoint.")] = str(BUNDLED),
    limit: Annotated[int, typer.Option(min=20, help="At most N products, evenly spread.")] = 600,
) -> None:
    """Check that the attention map marks what answers come from."""
    (loaded,) = load_checkpoints([checkpoint], local_device())
    products = LabelledSource(catalog, trained_on=True, limit=limit).load(loaded.answers)
    with tempfile.TemporaryDirectory() as cache:
        batches = loaded.batches(products, Path(cache))
        rows = np.flatnonzero(batches.images.has_image)
        deletions = [
            measure_deletion(loaded.classifier, batches, rows, condition)
            for condition in (Condition.NO_TEXT, Condition.AS_IS)
        ]
    title = f"What hiding patches costs: {loaded.name}, {len(rows)} pictures alone"
    draw_deletion(deletions[0], title, output)
    print_markdown(to_markdown(tabulate(deletions)))
    typer.echo(f"figure: {output}")


if __name__ == "__main__":
    run_command(main)
