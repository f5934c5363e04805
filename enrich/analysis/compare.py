"""Comparison of checkpoints, and of label words alone, on the same products.

Label words are those of the lexicon, in titles and descriptions. The score of a label is the
logarithm of its share in training, and what being named adds to it. That is fitted to products that
training has not seen, and calibrated as every classifier is.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, prod
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import safe_open
from schemas.labels import LABEL_WORDS
from torch import Tensor

from enrich.analysis.bootstrap import (
    ACCURACY,
    FOUND,
    KEPT,
    LEAST_GROUPS,
    Column,
    Estimate,
    Key,
    Measures,
    ScoredAnswers,
)
from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import Classifier
from enrich.classifiers.manifest import Manifest, fetch_manifest, list_adaptations
from enrich.classifiers.towers import TextEncoder
from enrich.errors import ConfigError
from enrich.lexicon import LabelFinder, Lexicon
from enrich.records import Modalities
from enrich.terminal import Table, escape, say, to_markdown
from enrich.training.answers import Answers
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition, open_batches
from enrich.training.caches import CachedImages
from enrich.training.evaluation import answer, apply_calibration, find_named, to_answers
from enrich.training.fitting import (
    BIAS_FITTED_UNDER,
    calibrate_answers,
    calibrated_under,
    log_priors,
    only_shown,
)
from enrich.training.labelled import (
    TEST,
    UNLABELLED,
    LabelledProducts,
    join_catalogs,
    read_catalogs,
    read_to_measure,
    refuse_same_names,
)
from enrich.training.preparation import Rows
from enrich.training.readers import Split

LEXICON = "lexicon"
_ADDED = np.linspace(0, 8, 17).tolist()

# Which labels a title names, and which the rest of the text names where the title names none.
_Found = tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]


@dataclass(frozen=True, slots=True)
class Words:
    """Weights that a label gains where a title, or the rest of a text, names it.

    By attribute, `priors` are scores of labels that are not named, `added` what is added to them.
    """

    attributes: Mapping[str, Sequence[str]]
    priors: dict[str, Float[Tensor, " C"]]
    added: dict[str, tuple[float, float]]
    calibration: Calibration

    @classmethod
    def fit(
        cls,
        attributes: Mapping[str, Sequence[str]],
        batches: Batches,
        rows: Rows,
        shown: Collection[Condition],
    ) -> "Words":
        """Fit to the rows to validate; rows of training tell the labels' shares.

        `attributes` are in the order of the targets, `shown` the conditions that training shows.
        """
        seen, targets = (
            torch.from_numpy(batches.products.targets[of]) for of in (rows.train, rows.validation)
        )
        shares = only_shown(BIAS_FITTED_UNDER, shown)
        found = {c: _find(attributes, batches, rows.validation, c) for c in shares}
        priors, added = {}, {}
        for column, (attribute, labels) in enumerate(attributes.items()):
            prior = log_priors(seen[:, column], len(labels))
            here = [(share, found[condition][attribute]) for condition, share in shares.items()]
            priors[attribute] = prior
            added[attribute] = _fit_added(prior, here, targets[:, column])
        words = cls(attributes, priors, added, Calibration(attributes={}))
        under = calibrated_under(shown)
        every = dict.fromkeys(itertools.chain.from_iterable(under.values()))
        answers = {
            condition: words.answer(batches, rows.validation, condition) for condition in every
        }
        return cls(attributes, priors, added, calibrate_answers(answers, under, seen))

    def answer(
        self, batches: Batches, rows: np.ndarray, condition: Condition
    ) -> dict[str, Answers]:
        """Return the answers to labelled rows by attribute, before calibration."""
        found = _find(self.attributes, batches, rows, condition)
        logits, named = {}, {}
        for attribute, (title, rest) in found.items():
            of_title, of_rest = self.added[attribute]
            logits[attribute] = self.priors[attribute] + of_title * title + of_rest * rest
            named[attribute] = (title + rest).bool()
        _, has_image, has_text, _ = batches.under(rows, condition)
        modalities = [*map(Modalities.of, has_image.tolist(), has_text.tolist())]
        nothing = torch.zeros(len(rows), 0)
        return to_answers(batches, rows, modalities, logits, {}, nothing, named)

    def score(
        self, batches: Batches, rows: np.ndarray, condition: Condition
    ) -> dict[str, ScoredAnswers]:
        """Return the calibrated answers to labelled rows, by attribute with any answer."""
        answers = self.answer(batches, rows, condition)
        return {
            attribute: ScoredAnswers.of(apply_calibration(self.calibration, attribute, found))
            for attribute, found in answers.items()
            if len(found)
        }


def _find(
    attributes: Mapping[str, Sequence[str]],
    batches: Batches,
    rows: np.ndarray,
    condition: Condition,
) -> dict[str, _Found]:
    titles = find_named(attributes, batches, rows, condition)
    texts, _, has_text, _ = batches.under(rows, condition)
    shown = [text if seen else None for text, seen in zip(texts, has_text, strict=True)]
    whole = LabelFinder(attributes, batches.label_words.lexicon).find([(t, None) for t in shown])
    found = {}
    for attribute, title in titles.items():
        # As in the job: descriptions count where titles name no label.
        rest = torch.from_numpy(whole[attribute].every) & ~title.any(1, keepdim=True)
        found[attribute] = (title.float(), rest.float())
    return found


def _fit_added(
    prior: Float[Tensor, " C"],
    conditions: Sequence[tuple[float, _Found]],
    targets: Int[Tensor, " N"],
) -> tuple[float, float]:
    def loss(added: tuple[float, float]) -> float:
        return sum(
            share
            * F.cross_entropy(
                prior + added[0] * title + added[1] * rest, targets, ignore_index=UNLABELLED
            ).item()
            for share, (title, rest) in conditions
        )

    return min(itertools.product(_ADDED, repeat=2), key=loss)


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

        Raises ConfigError if the catalog cannot be read, or has 0 products to evaluate.
        """
        products = read_to_measure(self.folder, attributes)
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
        return products.take(rows)


def build_sources(
    trained_on: list[Path], unseen: list[Path], limit: int | None
) -> list[LabelledSource]:
    """Return the sources to evaluate on, of each at most `limit` products."""
    sources = [LabelledSource(folder, True, limit) for folder in trained_on]
    sources += [LabelledSource(folder, False, limit) for folder in unseen]
    titles = [source.title for source in sources]
    if not titles:
        raise ConfigError(
            "a source is missing: found 0, expected 1 or more. Give --catalog or --unseen-source."
        )
    refuse_same_names("catalog", titles, "the report goes")
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
    def answers(self) -> dict[str, tuple[str, ...]]:
        """The answers of each attribute, in the order of the logits, added ones included."""
        return self.manifest.config.answers

    @property
    def fitted_to(self) -> list[str]:
        """The sources whose labelled products the checkpoint was fitted to, of any split."""
        return [adaptation["shop"] for adaptation in list_adaptations(self.manifest)]

    def batches(self, products: LabelledProducts, cache: Path) -> Batches:
        """Return the products as inputs of this checkpoint, with decoded pictures."""
        shape = self.manifest.config.image
        return open_batches(products, shape, self.encoder, self.label_words, cache)


def load_checkpoints(locations: Sequence[str], device: torch.device) -> list[LoadedCheckpoint]:
    """Load every checkpoint, in the order given.

    Raises CheckpointError if one cannot be loaded, and ConfigError if two have the same name.
    """
    names = [Path(location).resolve().name for location in locations]
    refuse_same_names("checkpoint folder", names, "the report goes")
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


def score_checkpoint(
    checkpoint: LoadedCheckpoint,
    shared: Sequence[str],
    sources: Sequence[LabelledSource],
    cache: Path,
) -> dict[Key, ScoredAnswers]:
    """Return a checkpoint's answers to the `shared` attributes, by key.

    Every source is asked under every condition.
    """
    attributes = {attribute: checkpoint.answers[attribute] for attribute in shared}
    scored = {}
    for source in sources:
        products = source.load(attributes)
        say(f"{checkpoint.name} on {source.title}: {len(products):,} products")
        batches = checkpoint.batches(products, cache)
        batches.cache_features(checkpoint.classifier)
        rows = batches.readable(np.arange(len(products)))
        if (products.targets[rows] == UNLABELLED).all():
            raise ConfigError(
                f"{source.folder} cannot be evaluated: found 0 labelled products with a readable "
                f"text or picture among {len(products):,} to measure, expected 1 or more. Label "
                "more, give titles or images, or raise --limit."
            )
        for condition in Condition:
            answers = answer(checkpoint.classifier, batches, rows, condition, attributes)
            for attribute, found in answers.items():
                if len(found):
                    calibrated = apply_calibration(
                        checkpoint.manifest.calibration, attribute, found
                    )
                    key = (source.title, condition.value, attribute)
                    scored[key] = ScoredAnswers.of(calibrated)
    return scored


def score_words(
    first: LoadedCheckpoint,
    shared: Sequence[str],
    catalogs: Sequence[Path],
    sources: Sequence[LabelledSource],
    cache: Path,
) -> dict[Key, ScoredAnswers]:
    """Return the answers of label words alone in every source, fitted to the catalogs.

    Labels and masked texts are those of the `first` checkpoint, attributes the `shared` ones.
    """
    attributes = {attribute: first.answers[attribute] for attribute in shared}
    known = join_catalogs(read_catalogs(catalogs), attributes)
    # Words need no pictures, so none is decoded.
    images = CachedImages(np.zeros((len(known), 0)), np.full(len(known), True), cache)
    batches = Batches(known, images, first.encoder, first.label_words)
    splits = (np.flatnonzero(known.split == part) for part in Split)
    words = Words.fit(attributes, batches, Rows(*splits), frozenset(Condition))
    scored = {}
    for source in sources:
        batches = first.batches(source.load(attributes), cache)
        rows = batches.readable(np.arange(len(batches.products)))
        for condition in Condition:
            for attribute, found in words.score(batches, rows, condition).items():
                scored[source.title, condition.value, attribute] = found
    return scored


def find_shared(checkpoints: Sequence[LoadedCheckpoint]) -> list[str]:
    """Return the attributes with the same labels, in any order, in all checkpoints.

    Raises ConfigError if there are 0 of them.
    """
    first, *others = (one.answers for one in checkpoints)
    shared = [a for a, own in first.items() if all({*own} == {*o.get(a, ())} for o in others)]
    if not shared:
        known = [
            f"{one.name} has {a} ({', '.join(own)})"
            for one in checkpoints
            for a, own in one.answers.items()
        ]
        raise ConfigError(
            "checkpoints cannot be compared: found 0 attributes with the same labels in all, "
            f"expected 1 or more: {'; '.join(known)}. Compare others."
        )
    return shared


def divide_columns(measures: Measures, without: Sequence[Condition]) -> dict[str, list[Column]]:
    """Return the columns by attribute, without some conditions."""
    found: dict[str, list[Column]] = {}
    for column in measures.columns():
        if column.condition not in without:
            found.setdefault(column.attribute, []).append(column)
    return found


def tabulate(
    measures: Measures,
    rows: Sequence[str],
    columns: Mapping[str, Sequence[Column]],
) -> list[Table]:
    """Return all tables: figures, differences to the first row, and kept promises."""
    tables = []
    for attribute, own in columns.items():
        headings = [column.heading for column in own]
        for title, figure in (("right", ACCURACY), ("found at 90 % precision", FOUND)):
            cells = [
                [row, *(to_cell(measures.estimate(row, one, figure)) for one in own)]
                for row in rows
            ]
            tables.append(Table(f"{attribute}: share {title}", ("", *headings), [cells]))
        first, *others = rows
        cells = [
            [row, *(to_cell(_less(measures, row, first, one), signed=True) for one in own)]
            for row in others
        ]
        if cells:
            title = f"{attribute}: share right, less that of {first}"
            tables.append(Table(title, ("", *headings), [cells]))
        cells = [[row, *(_promise(measures, row, one) for one in own)] for row in rows]
        title = f"{attribute}: share right of those given at a target of 90 %, and share given"
        tables.append(Table(title, ("", *headings), [cells]))
    return tables


def _less(measures: Measures, row: str, other: str, column: Column) -> Estimate:
    return measures.estimate(row, column).less(measures.estimate(other, column))


def to_cell(estimate: Estimate, *, signed: bool = False) -> str:
    """Return a figure with its interval, if there is one.

    A star marks a difference whose interval leaves out zero.
    """
    (low, high), sign = estimate.bounds, "+" if signed else ""
    if isnan(estimate.value):
        return ""
    if isnan(low):
        return f"{estimate.value:{sign}.3f}"
    star = " *" if signed and estimate.is_significant else ""
    if not signed:
        # The noise of seeds knows no ends of the range.
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{estimate.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f}){star}"


def _promise(measures: Measures, row: str, column: Column) -> str:
    right = to_cell(measures.estimate(row, column, KEPT))
    return f"{right}; {measures.given(row, column):.2f}" if right else ""


def compare_checkpoints(
    measures: Measures,
    checkpoints: Sequence[LoadedCheckpoint],
    output: Path,
) -> None:
    """Write a page of tables of checkpoints, all compared with the first."""
    first, *others = [one.name for one in checkpoints]
    words = [name for name in measures.runs if name == LEXICON]
    rows = [first, *words, *others]
    columns = divide_columns(measures, ())
    sizes = (f"{escape(one.name)} {_count_numbers(one) / 1e6:.1f} M" for one in checkpoints)
    fitted = [
        f"{escape(one.name)} was fitted to labelled products of "
        f"{escape(' and '.join(one.fitted_to))}, test groups or not: figures on those products "
        "flatter it.\n"
        for one in checkpoints
        if one.fitted_to
    ]
    known = dict.fromkeys(attribute for one in checkpoints for attribute in one.answers)
    lacking = ", ".join(escape(attribute) for attribute in known if attribute not in columns)
    page = [
        "# Comparison of checkpoints\n",
        *fitted,
        "Intervals are 95 %, over groups of near-identical products; there is none of fewer than "
        f"{LEAST_GROUPS} groups. Compared are attributes with the same labels in all that products "
        f"have. `{LEXICON}` are label words alone, fitted to the groups to validate.\n",
        *([f"Without figures: {lacking}.\n"] if lacking else []),
        f"Numbers in the weights: {', '.join(sizes)}.\n",
        *map(to_markdown, tabulate(measures, rows, columns)),
    ]
    output.write_text("\n".join(page))


def _count_numbers(checkpoint: LoadedCheckpoint) -> int:
    """Count the numbers in a checkpoint's weights, also where they compute in int8."""
    with safe_open(checkpoint.manifest.folder / "model.safetensors", framework="np") as weights:
        names = weights.keys()
        return sum(prod(weights.get_slice(name).get_shape()) for name in names)
