"""The recipe of an engine, and a source's own settings that change answers.

Small, picklable, and free of torch: a driver makes a recipe from a checkpoint's JSON, and a worker
builds the engine from it. A source's own
labels are other names than the checkpoint's, several labels as one, or labels that are never used:
`labels: {color: {grey: gray, turquoise: blue, multi: null}}`. Confidences stay calibrated: those of
labels that become one are added, and what a label is left out with goes to the others in
proportion.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from schemas.labels import RESERVED

from enrich.calibration import TARGET_PRECISIONS, Least, Thresholds, Transfer
from enrich.classifiers.manifest import BUNDLED, Manifest, fetched_checkpoint, read_manifest
from enrich.config import JobConfig
from enrich.errors import CheckpointError, ConfigError, NoAnswer
from enrich.images.locations import spell_out
from enrich.images.settings import ImageLimits, ImageLists, ImageReading
from enrich.images.store import ImageStore
from enrich.lexicon import OwnWords, ProductText
from enrich.unseen import SourceProfile, raise_thresholds, read_reference

if TYPE_CHECKING:
    import torch

    from enrich.engine.answerer import Answerer
    from enrich.engine.engine import Engine


# By attribute and label of the checkpoint: the source's own label, or None for one never used.
OwnLabels = Mapping[str, Mapping[str, str | None]]
LabelSets = Mapping[str, tuple[str, ...]]
# The product categories that an attribute applies to.
CategorySets = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """A source's own settings that answers depend on, as `JobConfig` has them."""

    words: OwnWords = field(default_factory=dict)
    applies_to: CategorySets = field(default_factory=dict)
    labels: OwnLabels = field(default_factory=dict)

    @classmethod
    def of(cls, config: JobConfig) -> "OwnSettings":
        """Return what a source's settings say."""
        return cls(config.own_words, config.applies_to, config.labels)

    def digest(self, rise: float) -> str:
        """Return the end of a model_version, empty where a source adds nothing."""
        said = [one for one in (self.applies_to, self.labels) if one]
        if not self.words and not rise and not said:
            return ""
        text = json.dumps([self.words, rise, *said], sort_keys=True)
        return f"-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


@dataclass(frozen=True, slots=True)
class Renaming:
    """An attribute's D own labels, and which of them each of C answers becomes.

    `places` (C,) are places in `labels`, -1 for an answer that is never given.
    """

    labels: tuple[str, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, answers: Sequence[str], own: Mapping[str, str | None]) -> "Renaming":
        """Return the renaming of a checkpoint's answers."""
        meant = [own.get(answer, answer) for answer in answers]
        # NULL's kinds come last, as in the checkpoint.
        labels = tuple(dict.fromkeys(one for one in meant if one is not None))
        return cls(labels, tuple(-1 if one is None else labels.index(one) for one in meant))

    def to_matrix(self) -> np.ndarray:
        """Return float32 (C, D), 1 where an answer becomes a label."""
        matrix = np.zeros((len(self.places), len(self.labels)), np.float32)
        for row, place in enumerate(self.places):
            if place >= 0:
                matrix[row, place] = 1
        return matrix

    def lowest(self, floors: Sequence[float]) -> tuple[float, ...]:
        """Return for each own label the lowest floor (C,) of those that become it."""
        return tuple(
            min(floor for floor, at in zip(floors, self.places, strict=True) if at == place)
            for place in range(len(self.labels))
        )


def rename(answers: LabelSets, own: OwnLabels) -> dict[str, Renaming]:
    """Return the renamings of the attributes that a source names.

    `answers` are those of `ClassifierConfig.answers`. Raises ConfigError if an attribute or label
    is unknown, an own label is reserved or empty, or fewer than two labels are left.
    """
    renamings = {}
    for attribute, names in own.items():
        _refuse_unknown("labels", "attribute", attribute, answers)
        known = [answer for answer in answers[attribute] if answer not in RESERVED]
        for label, name in names.items():
            _refuse_unknown(f"labels.{attribute}", "label", label, known)
            if name is not None and (name in RESERVED or not name.strip()):
                raise ConfigError(
                    f"labels.{attribute}.{label} cannot be called so: found '{name}', expected "
                    f"another name than {' and '.join(RESERVED)}, or null for never."
                )
        found = Renaming.of(answers[attribute], names)
        if len(set(found.labels).difference(RESERVED)) < 2:
            raise ConfigError(f"labels.{attribute} leaves fewer than two labels. Leave out less.")
        renamings[attribute] = found
    return renamings


def find_meant(name: str, answers: Sequence[str], own: Mapping[str, str | None]) -> list[str]:
    """Return the answers that a source's name may mean, the inverse of `Renaming`.

    An answer that the settings do not name means itself, also where others become it. Case does
    not count for a name that nothing is called exactly.
    """
    kept = [answer for answer in answers if answer not in own]
    if name in RESERVED or name in kept:
        return [name]
    if exact := [answer for answer in answers if own.get(answer) == name]:
        return exact
    alike = [answer for answer in kept if answer.casefold() == name.casefold()]
    return alike or [one for one in answers if (own.get(one) or "").casefold() == name.casefold()]


def name_own_words(own: OwnLabels, answers: LabelSets) -> dict[str, dict[str, str | None]]:
    """Return a source's own names as words that name the checkpoint's labels.

    A label of the checkpoint, one of `answers`, that keeps its name means itself.
    """
    words: dict[str, dict[str, str | None]] = {}
    for attribute, names in own.items():
        known = {label.casefold() for label in answers.get(attribute, ()) if label not in names}
        words[attribute] = {
            name: label
            for label, name in names.items()
            if name is not None and name.casefold() not in known
        }
    return words


def rename_sets(sets: LabelSets, renamings: Mapping[str, Renaming]) -> dict[str, tuple[str, ...]]:
    """Return label sets in a source's own words."""
    return {a: renamings[a].labels if a in renamings else labels for a, labels in sets.items()}


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Recipe that a driver sends to its workers, which build the engine.

    `own` are the source's own settings, `applies_to` the product categories of attributes that make
    no sense of others. `rise` is by how much thresholds rise because the source looks unlike those
    of training. `answers_version` is the model_version without any of these.

    `target_precision` has chosen the thresholds below which an attribute is abstained on.
    """

    checkpoint: str
    encoder_version: str
    model_version: str
    attributes: dict[str, tuple[str, ...]]
    thresholds: Thresholds
    own: OwnSettings
    answers_version: str
    transfer: Transfer
    reads_descriptions: bool
    applies_to: CategorySets
    image_root: str
    allowed_roots: tuple[str, ...]
    image_hosts: tuple[str, ...]
    image_lists: ImageLists
    limits: ImageLimits
    target_precision: float
    batch_size: int
    read_threads: int
    reading: ImageReading
    rise: float = 0.0

    @property
    def limits_digest(self) -> str:
        """Digest of the image limits and the allowed roots and hosts, 12 hex digits."""
        roots = sorted({self.image_root, *self.allowed_roots})
        allowed = (self.limits, roots, sorted(set(self.image_hosts)))
        return hashlib.sha256(repr(allowed).encode()).hexdigest()[:12]

    def open_store(self) -> ImageStore:
        """Return the store of the products' images."""
        return ImageStore(
            self.image_root,
            self.allowed_roots,
            self.limits,
            self.reading,
            self.image_hosts,
            self.image_lists,
        )

    def build(self, device: "torch.device") -> "Engine":
        """Load the checkpoint onto `device`.

        Raises CheckpointError if it is missing or damaged, and NoAnswer if it is another one than
        the driver saw.
        """
        # The driver makes specs and never builds one: torch is loaded where it is used.
        from enrich.engine.engine import Engine

        with self._read_checkpoint() as manifest:
            return Engine(self, manifest, device)

    def build_answerer(self) -> "Answerer":
        """Load the answerer of a checkpoint's vectors, on the CPU and without the encoder.

        Raises as `build` does.
        """
        from enrich.engine.answerer import Answerer

        with self._read_checkpoint() as manifest:
            return Answerer(manifest, self)

    def profile(
        self, vectors: Sequence[bytes], modalities: Sequence[str], texts: Sequence[ProductText]
    ) -> SourceProfile | None:
        """Return the profile of a source; None without a reference or pictures.

        Vectors, modalities and texts are those of a random sample of the source's products, as in
        `Answerer.answer`. Raises CheckpointError if the checkpoint is missing or damaged.
        """
        from enrich.engine.answerer import Answerer

        with self._read_checkpoint() as manifest:
            reference = read_reference(manifest.folder)
            if reference is None:
                return None
            return Answerer(manifest, self).profile(reference, vectors, modalities, texts)

    def in_source(self, rise: float) -> "EngineSpec":
        """Return the recipe whose thresholds are higher by so much, in log odds."""
        if not rise:
            return self
        return replace(
            self,
            rise=rise,
            thresholds=raise_thresholds(self.thresholds, rise, self.transfer),
            model_version=self.answers_version + self.own.digest(rise),
        )

    @contextmanager
    def _read_checkpoint(self) -> Iterator[Manifest]:
        """Yield the checkpoint's manifest while its folder is there."""
        with fetched_checkpoint(self.checkpoint) as folder:
            manifest = read_manifest(folder)
            version = name_model_version(manifest, self.target_precision, self.own, self.rise)
            if version != self.model_version:
                raise NoAnswer(
                    f"the checkpoint in {self.checkpoint} was replaced: found {version}, expected "
                    f"{self.model_version} as when the driver read it. Run this again. If machines "
                    "have different checkpoints, copy the same to all, or use a shared location."
                )
            yield manifest


def name_model_version(
    manifest: Manifest,
    target_precision: float,
    own: OwnSettings = OwnSettings(),
    rise: float = 0.0,
) -> str:
    """Return the version that every row carries.

    It is the name, the content's digest and the target precision. A digest of a source's `own`
    settings and of the `rise` of its thresholds follows where there are any: answers depend on
    them.
    """
    if target_precision not in TARGET_PRECISIONS:
        allowed = ", ".join(map(str, TARGET_PRECISIONS))
        raise CheckpointError(
            f"{manifest.config.name} has no thresholds for target_precision {target_precision}: "
            f"expected one of {allowed}."
        )
    name = f"{manifest.config.name}-{manifest.digests.model}-p{round(100 * target_precision)}"
    return name + own.digest(rise)


def published_labels(config: JobConfig, manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Return the labels that a source publishes, by attribute.

    Raises ConfigError if the settings' labels are not those of the checkpoint.
    """
    answers = rename_sets(manifest.config.answers, rename(manifest.config.answers, config.labels))
    return {a: tuple(one for one in said if one not in RESERVED) for a, said in answers.items()}


def choose_thresholds(config: JobConfig, manifest: Manifest) -> Thresholds:
    """Return the least confidences of a source's answers, published labels first.

    Raises ConfigError if the settings' labels are not those of the checkpoint.
    """
    answers = manifest.config.answers
    thresholds = manifest.calibration.thresholds(config.target_precision, answers)
    renamed = {
        attribute: {
            modalities: Least(one.by_evidence, renaming.lowest(one.by_label))
            for modalities, one in thresholds[attribute].items()
        }
        for attribute, renaming in rename(answers, config.labels).items()
    }
    return {**thresholds, **renamed}


def build_spec(config: JobConfig, manifest: Manifest, image_root: str) -> EngineSpec:
    """Return the recipe for a job's settings and a checkpoint.

    Local paths start from this process's working directory, which need not be a worker's. Raises
    CheckpointError if the checkpoint has no thresholds for the configured target precision, and
    ConfigError if the settings' lexicon names an attribute or label that the checkpoint lacks.
    """
    _refuse_unknown_labels(config.lexicon, manifest.config.attributes)
    _refuse_unknown_attributes(config, manifest.config.attributes)
    own = OwnSettings.of(config)
    return EngineSpec(
        checkpoint=locate_checkpoint(config),
        encoder_version=manifest.digests.encoder,
        model_version=name_model_version(manifest, config.target_precision, own),
        attributes=published_labels(config, manifest),
        thresholds=choose_thresholds(config, manifest),
        own=own,
        answers_version=name_model_version(manifest, config.target_precision),
        transfer=manifest.calibration.transfer,
        reads_descriptions=bool(manifest.config.headless),
        applies_to=manifest.config.applies_to | config.applies_to,
        image_root=_absolute(image_root),
        allowed_roots=tuple(map(_absolute, config.allowed_image_roots)),
        image_hosts=config.image_hosts,
        image_lists=config.image_lists,
        limits=config.image_limits,
        target_precision=config.target_precision,
        batch_size=config.batch_size,
        read_threads=config.read_threads,
        reading=config.image_reading,
    )


def locate_checkpoint(config: JobConfig) -> str:
    """Return the absolute path or the URI of a job's checkpoint."""
    return _absolute(str(BUNDLED) if config.checkpoint is None else config.checkpoint)


def open_engine(
    manifest: Manifest, image_root: str, settings: JobConfig | None = None, rise: float = 0.0
) -> "Engine":
    """Return the engine of a checkpoint on this machine.

    Of `settings` all but the checkpoint counts. Thresholds are higher by `rise`, in log odds.
    Raises CheckpointError if the weights do not fit,
    or this machine cannot compute with them, and ConfigError if the settings' lexicon names an
    attribute or label that the checkpoint lacks.
    """
    from enrich.engine.device import local_device
    from enrich.engine.engine import Engine

    used = (settings or JobConfig()).model_copy(update={"checkpoint": str(manifest.folder)})
    spec = build_spec(used, manifest, image_root).in_source(rise)
    return Engine(spec, manifest, local_device())


def _refuse_unknown_attributes(config: JobConfig, attributes: Collection[str]) -> None:
    """Raise ConfigError where `applies_to` names an unknown attribute."""
    for attribute in config.applies_to:
        _refuse_unknown("applies_to", "attribute", attribute, attributes)
    if config.applies_to and config.columns.category is None:
        raise ConfigError("applies_to needs categories. Name their column: columns.category.")


def _refuse_unknown_labels(words: OwnWords, attributes: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError where the settings' words are of no attribute or label."""
    for attribute, named in words.items():
        _refuse_unknown("lexicon", "attribute", attribute, attributes)
        names = {label.casefold() for label in attributes[attribute]}
        for word, label in named.items():
            if label is None and word.casefold() in names:
                raise ConfigError(
                    f"lexicon.{attribute} takes out '{word}', which is a label's own name: "
                    "expected another word. The setting 'labels' renames labels, or gives none."
                )
            if label is not None and label not in attributes[attribute]:
                raise ConfigError(
                    f"lexicon.{attribute} gives '{word}' an unknown label: found {label}, expected "
                    f"one of {', '.join(attributes[attribute])}, or null."
                )


def _refuse_unknown(setting: str, what: str, found: str, known: Collection[str]) -> None:
    if found not in known:
        raise ConfigError(
            f"{setting} names an unknown {what}: found {found}, expected one of {', '.join(known)}."
        )


def _absolute(location: str) -> str:
    location = spell_out(location)
    return location if "://" in location else os.path.abspath(location)  # noqa: PTH100
