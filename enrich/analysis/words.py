"""Answers of label words alone, without a network, for a row of every comparison.

Words are those of the lexicon, in titles and descriptions. The score of a label is the logarithm of
its share in training, and what being named adds to it. That is fitted to products that training has
not seen, and calibrated as every classifier is.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from enrich.analysis.bootstrap import ScoredAnswers
from enrich.calibration import Calibration
from enrich.lexicon import LabelFinder
from enrich.records import Modalities
from enrich.training.answers import Answers
from enrich.training.batches import Batches, Condition
from enrich.training.evaluation import apply_calibration, find_named, to_answers
from enrich.training.fitting import (
    BIAS_FITTED_UNDER,
    calibrate_answers,
    calibrated_under,
    log_priors,
    only_shown,
)
from enrich.training.labelled import UNLABELLED
from enrich.training.preparation import Rows

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
