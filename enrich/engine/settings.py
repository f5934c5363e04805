"""A source's own settings, on which its answers depend.

A source's own labels are other names than the checkpoint's, several labels as one, or labels that
are never used: `labels: {color: {grey: gray, turquoise: blue, multi: null}}`. Confidences stay
calibrated: those of labels that become one are added, and what a label is left out with goes to the
others in proportion. Free of torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from schemas.labels import RESERVED

from enrich.calibration import Least, Thresholds
from enrich.config import JobConfig
from enrich.errors import ConfigError

# By attribute and label of the checkpoint: the source's own label, or None for one never used.
OwnLabels = Mapping[str, Mapping[str, str | None]]
LabelSets = Mapping[str, tuple[str, ...]]
# What a source adds to the lexicon, by attribute and word: a label, or None to take a word out.
OwnWords = Mapping[str, Mapping[str, str | None]]
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

    Args:
        answers: The checkpoint's, `ClassifierConfig.answers`.
        own: The source's own labels.

    Raises:
        ConfigError: An attribute or label is unknown, an own label is reserved or empty, or fewer
            than two labels are left.
    """
    renamings = {}
    for attribute, names in own.items():
        if attribute not in answers:
            raise ConfigError(
                f"labels names an unknown attribute: found {attribute}, expected one of "
                f"{', '.join(answers)}."
            )
        known = [answer for answer in answers[attribute] if answer not in RESERVED]
        for label, name in names.items():
            if label not in known:
                raise ConfigError(
                    f"labels.{attribute} names an unknown label: found {label}, expected one of "
                    f"{', '.join(known)}."
                )
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


def name_own_words(own: OwnLabels) -> dict[str, dict[str, str | None]]:
    """Return a source's own names as words that name the checkpoint's labels."""
    return {
        attribute: {name: label for label, name in names.items() if name is not None}
        for attribute, names in own.items()
    }


def rename_sets(sets: LabelSets, renamings: Mapping[str, Renaming]) -> dict[str, tuple[str, ...]]:
    """Return label sets in a source's own words."""
    return {a: renamings[a].labels if a in renamings else labels for a, labels in sets.items()}


def rename_thresholds(thresholds: Thresholds, renamings: Mapping[str, Renaming]) -> Thresholds:
    """Return thresholds of a source's own labels."""
    return {
        attribute: {
            modalities: Least(one.by_evidence, renamings[attribute].lowest(one.by_label))
            if attribute in renamings
            else one
            for modalities, one in by_modalities.items()
        }
        for attribute, by_modalities in thresholds.items()
    }
