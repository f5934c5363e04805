"""Faults that happen to answers after the classifier gave them; confidences stay as they are."""

from dataclasses import replace

import numpy as np
import pandas as pd
from schemas.labels import ABSTAINED

from expectations.drill.answers import DrawnAnswers, count_labels
from expectations.drill.runs import SEED, Case


def build_label_faults(known: DrawnAnswers) -> dict[str, Case]:
    """Returns a case of every fault of every attribute, and one of rows that lost their order.

    Of an attribute with fewer than two labels there is none: it would change next to nothing.
    """
    rng = np.random.default_rng(SEED)
    varied = [a for a, column in known.labels.items() if len(count_labels(column)) > 1]
    return {
        **{f"{a}_stuck": Case(stick_to_commonest(known, a)) for a in varied},
        **{f"{a}_labels_permuted": Case(rename_labels(known, a)) for a in varied},
        "answers_of_others": Case(give_to_others(known, rng), before=known),
    }


def stick_to_commonest(answers: DrawnAnswers, attribute: str) -> DrawnAnswers:
    """Returns the answers with one attribute stuck on the label that hides it best."""
    counts = count_labels(answers.labels[attribute])
    commonest = max(counts, key=lambda name: counts[name])
    stuck = pd.Categorical([commonest] * len(answers))
    return replace(answers, labels={**answers.labels, attribute: stuck})


def rename_labels(answers: DrawnAnswers, attribute: str) -> DrawnAnswers:
    """Returns the answers with one attribute's labels permuted: a label list in another order."""
    column = answers.labels[attribute]
    labels = [name for name in column.categories if name != ABSTAINED]
    renamed = dict(zip(labels, labels[1:] + labels[:1], strict=True)) | {ABSTAINED: ABSTAINED}
    return replace(answers, labels={**answers.labels, attribute: column.rename_categories(renamed)})


def give_to_others(answers: DrawnAnswers, rng: np.random.Generator) -> DrawnAnswers:
    """Returns the answers given to products that they are not about: rows that lost their order."""
    return answers.take(rng.permutation(len(answers)))
