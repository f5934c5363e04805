"""Comparison of checkpoints on the same products, conditions and draws.

The checkpoints stay in memory together, because their speeds are measured in turns.
"""

import copy
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from schemas.labels import LABEL_WORDS
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from enrich.adaptation.checkpoint import list_adaptations
from enrich.analysis.bootstrap import (
    Record,
    Replicates,
    draw_groups,
    measure_with_intervals,
    subtract,
)
from enrich.analysis.plots import ByCondition, draw_checkpoint, draw_overview, file_name
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.classifiers.tokenizer import TextEncoder
from enrich.engine.device import choose_dtype
from enrich.engine.forward import Forward
from enrich.errors import ConfigError
from enrich.lexicon import Lexicon
from enrich.terminal import say
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition, open_batches
from enrich.training.evaluation import answer, apply_calibration
from enrich.training.labelled import (
    TEST,
    UNLABELLED,
    LabelledProducts,
    read_to_measure,
    refuse_same_names,
    require_any_label,
)

_SPEED_BATCH, _REPETITIONS = 64, 7
Key = tuple[str, str]  # condition and attribute


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """A labelled catalog; of one that was trained on, the test groups are evaluated."""

    folder: Path
    trained_on: bool
    limit: int | None = None

    @property
    def title(self) -> str:
        """The name of the source in tables and plots."""
        return (
            f"{self.folder.resolve().name}, {'test groups' if self.trained_on else 'all products'}"
        )

    def load(self, attributes: dict[str, tuple[str, ...]]) -> LabelledProducts:
        """Return the products to evaluate, with groups numbered from 0 without a gap.

        Raises:
            ConfigError: the catalog cannot be read, or has 0 products to evaluate.
        """
        products = read_to_measure(self.folder, attributes, self.title)
        rows = np.arange(len(products))
        if self.trained_on:
            rows = rows[products.split == TEST]
        if len(rows) == 0:
            raise ConfigError(
                f"{self.folder} cannot be evaluated: found 0 test groups among {len(products)} "
                "products, expected a tenth of all groups. Give it as --unseen-source if it was "
                "not trained on."
            )
        if self.limit is not None and self.limit < len(rows):
            # Evenly spread, because a catalog is often sorted by kind of product.
            rows = rows[np.linspace(0, len(rows) - 1, self.limit).astype(int)]
        products = products.take(rows)
        require_any_label(products, attributes, self.folder)
        return products


def build_sources(
    trained_on: list[Path], unseen: list[Path], limit: int | None
) -> list[LabelledSource]:
    """Return the sources to evaluate on, of each at most `limit` products.

    Raises:
        ConfigError: there are 0 sources, or two have the same title.
    """
    sources = [LabelledSource(folder, True, limit) for folder in trained_on]
    sources += [LabelledSource(folder, False, limit) for folder in unseen]
    titles = [source.title for source in sources]
    if not titles:
        raise ConfigError(
            "a source is missing: found 0, expected 1 or more. Give --catalog or --unseen-source."
        )
    refuse_same_names("catalog", titles, "the report goes", file_name)
    return sources


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A loaded checkpoint, named after its folder.

    `label_words` has the labels of all checkpoints, so that all read the same masked texts.
    """

    name: str
    manifest: Manifest
    classifier: Classifier
    encoder: TextEncoder
    label_words: LabelWords

    @property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        """The labels of each attribute, in the order of the logits."""
        return self.manifest.config.attributes

    @property
    def fitted_to(self) -> list[str]:
        """The sources whose labelled products the checkpoint was fitted to, of any split."""
        return [adaptation["shop"] for adaptation in list_adaptations(self.manifest)]

    def as_stored(self) -> Classifier:
        """Return the classifier with all layers in floating point.

        Layers in int8 have no parameters, and the FLOP counter does not know them.
        """
        config = self.manifest.config
        if not config.int8:
            return self.classifier
        exact = replace(self.manifest, config=config.model_copy(update={"int8": False}))
        return load_classifier(exact, self.classifier.device)[0]

    def batches(self, products: LabelledProducts, cache: Path) -> Batches:
        """Return the products as inputs of this checkpoint, with decoded pictures."""
        shape = self.manifest.config.image
        return open_batches(products, shape, self.encoder, self.label_words, cache)


def load_checkpoints(locations: Sequence[str], device: torch.device) -> list[LoadedCheckpoint]:
    """Load every checkpoint, in the order given.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        ConfigError: two checkpoints have the same name.
    """
    names = [Path(location).resolve().name for location in locations]
    refuse_same_names("checkpoint folder", names, "the report goes", file_name)
    manifests = [fetch_manifest(location) for location in locations]
    labels: dict[str, tuple[str, ...]] = {}
    for manifest in manifests:
        for attribute, own in manifest.config.attributes.items():
            labels[attribute] = labels.get(attribute, ()) + own
    label_words = LabelWords(labels, Lexicon.of_labels(LABEL_WORDS))
    return [
        LoadedCheckpoint(name, manifest, *load_classifier(manifest, device), label_words)
        for name, manifest in zip(names, manifests, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison, as records of plain values.

    Attributes:
        machine: the device that speeds were measured on.
        costs: a record for each checkpoint.
        figures: a record for each checkpoint, source, condition and attribute.
        differences: the same for every checkpoint but the first, less the figures of the first.
        fitted_to: the sources that a checkpoint was fitted to, by the checkpoint's name.
    """

    machine: str
    costs: list[Record]
    figures: list[Record]
    differences: list[Record]
    fitted_to: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Device, cache folder and plot folder of a comparison."""

    device: torch.device
    cache: Path
    plots: Path


def compare(
    checkpoints: Sequence[LoadedCheckpoint],
    sources: Sequence[LabelledSource],
    replicates: int,
    workplace: Workplace,
) -> Comparison:
    """Evaluate every checkpoint in every source, and draw the plots.

    Args:
        checkpoints: loaded checkpoints; all others are compared with the first.
        sources: labelled catalogs.
        replicates: bootstrap draws behind each interval.
        workplace: gets the plots `overview.png` and `<checkpoint>/<source>/*.png`.

    Raises:
        ConfigError: a catalog cannot be read, or has 0 products to evaluate.
    """
    # Before anything is computed, so that a wrong folder shows at once.
    products = [_load_for_each(checkpoints, source) for source in sources]
    figures, differences = [], []
    for source, by_checkpoint in zip(sources, products, strict=True):
        draws = draw_groups(int(by_checkpoint[0].groups.max()) + 1, replicates)
        measured = [
            _evaluate(checkpoint, source, labelled, draws, workplace)
            for checkpoint, labelled in zip(checkpoints, by_checkpoint, strict=True)
        ]
        for checkpoint, own in zip(checkpoints, measured, strict=True):
            figures += [record for record, _ in own.values()]
            if checkpoint is not checkpoints[0]:
                shared = _shared(checkpoint, checkpoints[0])
                differences += [
                    subtract(*one, *measured[0][key])
                    for key, one in own.items()
                    if key[1] in shared
                ]
    draw_overview(figures, workplace.plots / "overview.png")
    costs = _measure_costs(checkpoints, products[0], workplace)
    fitted_to = {one.name: one.fitted_to for one in checkpoints if one.fitted_to}
    return Comparison(describe_machine(workplace.device), costs, figures, differences, fitted_to)


def _load_for_each(
    checkpoints: Sequence[LoadedCheckpoint], source: LabelledSource
) -> list[LabelledProducts]:
    """Return the products with the label numbers of each checkpoint."""
    label_sets = [tuple(checkpoint.attributes.items()) for checkpoint in checkpoints]
    loaded = {labels: source.load(dict(labels)) for labels in dict.fromkeys(label_sets)}
    return [loaded[labels] for labels in label_sets]


def _evaluate(
    checkpoint: LoadedCheckpoint,
    source: LabelledSource,
    products: LabelledProducts,
    draws: Float[Tensor, "R G"],
    workplace: Workplace,
) -> dict[Key, tuple[Record, Replicates]]:
    """Return the figures of a checkpoint in a source; draw their plots."""
    title = f"{checkpoint.name} on {source.title}"
    say(f"{title}: {len(products):,} products")
    batches = checkpoint.batches(products, workplace.cache)
    batches.cache_features(checkpoint.classifier)
    answered = _ask(checkpoint, batches)
    folder = workplace.plots / file_name(checkpoint.name) / file_name(source.title)
    draw_checkpoint(answered, checkpoint.attributes, title, folder)
    measured = {}
    for condition, by_attribute in answered.items():
        for attribute, answers in by_attribute.items():
            record, replicates = measure_with_intervals(answers, draws)
            where = {
                "checkpoint": checkpoint.name,
                "source": source.title,
                "condition": condition.value,
                "attribute": attribute,
            }
            measured[condition.value, attribute] = where | record, replicates
    return measured


def _ask(checkpoint: LoadedCheckpoint, batches: Batches) -> ByCondition:
    """Return calibrated answers by condition and attribute, where there are labels."""
    rows = batches.readable(np.arange(len(batches.products)))
    if (batches.products.targets[rows] == UNLABELLED).all():
        raise ConfigError(
            f"{batches.products.image_roots[0]} cannot be evaluated: found 0 labelled products "
            "with a readable text or picture, expected 1 or more. Give titles or images."
        )
    return {
        condition: {
            attribute: apply_calibration(checkpoint.manifest.calibration, attribute, answers)
            for attribute, answers in answer(
                checkpoint.classifier, batches, rows, condition
            ).items()
            if len(answers)
        }
        for condition in Condition
    }


def _shared(one: LoadedCheckpoint, other: LoadedCheckpoint) -> set[str]:
    """Return the attributes with the same labels in both; their order does not matter."""
    return {a for a, own in one.attributes.items() if {*own} == {*other.attributes.get(a, ())}}


def _measure_costs(
    checkpoints: Sequence[LoadedCheckpoint],
    products: Sequence[LabelledProducts],
    workplace: Workplace,
) -> list[Record]:
    turns = []
    for checkpoint, labelled in zip(checkpoints, products, strict=True):
        batches = checkpoint.batches(labelled, workplace.cache)
        rows = batches.readable(np.arange(len(labelled)))[:_SPEED_BATCH]
        (inputs,) = batches.evaluation(rows, Condition.AS_IS, _SPEED_BATCH)
        turns.append((checkpoint.classifier, inputs))
    costs = []
    for checkpoint, speed in zip(checkpoints, measure_speeds(turns, workplace.device), strict=True):
        stored = checkpoint.as_stored()
        parameters, pretrained = count_parameters(stored)
        costs.append(
            {
                "checkpoint": checkpoint.name,
                "classifier": checkpoint.manifest.config.classifier,
                "parameters": parameters,
                "pretrained_parameters": pretrained,
                "flops_per_product": count_flops(stored),
                "products_per_second": round(speed, 1),
                "checkpoint_bytes": sum(
                    file.stat().st_size
                    for file in checkpoint.manifest.folder.iterdir()
                    if file.is_file()
                ),
            }
        )
    return costs


def count_parameters(classifier: Classifier) -> tuple[int, int]:
    """Count all parameters, and those that started from published weights."""
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    total = sum(parameter.numel() for parameter in classifier.parameters())
    return total, sum(parameter.numel() for parameter in pretrained)


def count_flops(classifier: Classifier) -> int:
    """Count the operations that one more product in a batch takes.

    The product has a picture and a text of full length. A multiplication with its addition counts
    as two. Convolutions, matrix products and attention count; norms, activations, pooling,
    look-ups, and work done once a batch do not.
    """
    one, two = (_count_batch_flops(classifier, products) for products in (1, 2))
    return two - one


def _count_batch_flops(classifier: Classifier, products: int) -> int:
    config = classifier.config
    size_px, present = config.image.size_px, torch.ones(products, dtype=torch.bool)
    batch = ModelInputs(
        token_ids=torch.ones(products, config.text_length, dtype=torch.long),
        token_mask=torch.ones(products, config.text_length, dtype=torch.bool),
        has_image=present,
        has_text=present,
        pixel_values=torch.zeros(products, 3, size_px, size_px, dtype=torch.uint8),
    )
    # The fused transformer layer of inference is one operation that the counter does not know.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # With gradients: without, a view of a parameter, as Perceiver's latents are, breaks it.
        with FlopCounterMode(display=False) as counter:
            classifier(batch.to(classifier.device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def measure_speeds(
    runs: Sequence[tuple[Classifier, ModelInputs]], device: torch.device
) -> list[float]:
    """Return the products a second of each forward pass, by its median repetition.

    Copies are timed, fused as the job fuses its classifier. They take turns, so that other work of
    the machine slows all of them alike.
    """
    on_device = [(Forward(copy.deepcopy(one), device), inputs.to(device)) for one, inputs in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for repetition in range(1 + _REPETITIONS):
        for taken, (forward, inputs) in zip(seconds, on_device, strict=True):
            begin = time.perf_counter()
            forward(inputs)
            if repetition > 0:  # the first one warms up
                taken.append(time.perf_counter() - begin)
    return [
        len(inputs.has_text) / statistics.median(taken)
        for taken, (_, inputs) in zip(seconds, on_device, strict=True)
    ]


def describe_machine(device: torch.device) -> str:
    """Describe device, threads and number format of a speed measurement."""
    number_format = str(choose_dtype(device)).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {number_format}"
    instructions = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    plural = "" if threads == 1 else "s"
    return f"{platform.machine()} CPU ({instructions}), {threads} thread{plural}, {number_format}"
