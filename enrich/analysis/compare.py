"""Evaluation of checkpoints on the same products, under the same conditions and draws.

The checkpoints stay in memory together, because their speeds are measured in turns.
"""

import copy
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
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
from enrich.errors import ConfigError
from enrich.forward import Forward
from enrich.lexicon import Lexicon
from enrich.precision import choose_dtype
from enrich.progress import say
from enrich.tokenizer import TextEncoder
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

_SPEED_BATCH = 64
Key = tuple[str, str]  # condition and attribute

_REPETITIONS = 7


@dataclass(frozen=True, slots=True)
class LabelledShop:
    """A labelled catalog; if it was trained on, only its held-back test groups are evaluated."""

    folder: Path
    trained_on: bool
    limit: int | None = None

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        return (
            f"{self.folder.resolve().name}, {'test groups' if self.trained_on else 'all products'}"
        )

    def load(self, attributes: dict[str, tuple[str, ...]]) -> LabelledProducts:
        """Return the products to evaluate, their groups numbered from 0 without a gap.

        Raises:
            ConfigError: the catalog cannot be read, or holds nothing to evaluate on.
        """
        products = read_to_measure(self.folder, attributes, self.title)
        rows = np.arange(len(products))
        if self.trained_on:
            rows = rows[products.split == TEST]
        if len(rows) == 0:
            raise ConfigError(
                f"no test group in {self.folder}: a tenth of all groups is held back, and "
                f"{len(products)} products give none. Use --strange-shop if none was trained on"
            )
        if self.limit is not None and self.limit < len(rows):
            # Evenly spread, because a catalog is often sorted by kind of product.
            rows = rows[np.linspace(0, len(rows) - 1, self.limit).astype(int)]
        products = products.take(rows)
        require_any_label(products, attributes, self.folder)
        return products


def build_shops(
    trained_on: list[Path], strange: list[Path], limit: int | None
) -> list[LabelledShop]:
    """Return what to evaluate on, of each catalog at most `limit` products.

    Raises:
        ConfigError: there is none, or two would have the same title.
    """
    shops = [LabelledShop(folder, True, limit) for folder in trained_on]
    shops += [LabelledShop(folder, False, limit) for folder in strange]
    titles = [shop.title for shop in shops]
    if not titles:
        raise ConfigError("no products to evaluate on: give --catalog or --strange-shop")
    refuse_same_names("catalog", titles, "the report goes", file_name)
    return shops


@dataclass(frozen=True, slots=True)
class Contender:
    """A loaded checkpoint; its `name` is that of its folder, and no two have the same.

    `label_words` are those of all contenders' labels: each is asked about the same masked texts.
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
        """The shops to whose labelled products it was fitted, of whatever split those are."""
        return [adaptation["shop"] for adaptation in list_adaptations(self.manifest)]

    def as_stored(self) -> Classifier:
        """Return the classifier with all its layers in floating point.

        Those in eight bits have no parameters, and the FLOP counter does not know them.
        """
        config = self.manifest.config
        if not config.int8:
            return self.classifier
        exact = replace(self.manifest, config=config.model_copy(update={"int8": False}))
        return load_classifier(exact, self.classifier.device)[0]

    def batches(self, products: LabelledProducts, cache: Path) -> Batches:
        """Return the products as this checkpoint takes them, their pictures decoded once."""
        shape = self.manifest.config.image
        return open_batches(products, shape, self.encoder, self.label_words, cache)


def load_contenders(locations: Sequence[str], device: torch.device) -> list[Contender]:
    """Load every checkpoint, in the order given.

    Raises:
        CheckpointError: one of them cannot be loaded.
        ConfigError: two have the same name.
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
        Contender(name, manifest, *load_classifier(manifest, device), label_words)
        for name, manifest in zip(names, manifests, strict=True)
    ]


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
    """Evaluate every checkpoint in every shop and draws the plots.

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
    """Return the products with each checkpoint's own label numbers, read once a label set."""
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
    """Return the figures of one checkpoint in one shop, and draws the plots of the two."""
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
    """Return the calibrated answers under every condition, attributes without a label left out."""
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
    """Return the attributes that both answer with the same labels: only these are comparable.

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


def count_parameters(classifier: Classifier) -> tuple[int, int]:
    """Return all parameters, and how many of them started from published weights."""
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    total = sum(parameter.numel() for parameter in classifier.parameters())
    return total, sum(parameter.numel() for parameter in pretrained)


def count_flops(classifier: Classifier) -> int:
    """Return the operations that one more product in a batch takes, picture and full-length text.

    A multiplication with its addition counts as two. Counted are convolutions, matrix products and
    attention; norms, activations, pooling and look-ups are not, nor what is done once a batch, as
    for the prompts of `clip_zero_shot`.
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
    """Return the products a second of each classifier's forward pass, its median repetition.

    What is timed are copies, made quick as the job makes its own classifier. They take turns, so
    that whatever else the machine does slows all of them alike.
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
    """Return the device, the threads and the number format that a speed was measured with."""
    number_format = str(choose_dtype(device)).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {number_format}"
    instructions = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    plural = "" if threads == 1 else "s"
    return f"{platform.machine()} CPU ({instructions}), {threads} thread{plural}, {number_format}"


def measure_size(checkpoint: Path) -> int:
    """Return the bytes of the checkpoint's files."""
    return sum(file.stat().st_size for file in checkpoint.iterdir() if file.is_file())
