"""Tells labels that say little of a shop: of one value, of mistakes alone, or of some values only.

Whatever is fitted to those looks good on them, also on the ones held out, and is worse in the shop.
Knows nothing of fitting.
"""

from collections.abc import Sequence

import torch

from enrich.calibration import CalibratedSets
from enrich.errors import name_some
from enrich.training.answers import Answers, CalibratedAnswers

# Where confidence is further off than this, and answers are wrong more often, the labelled products
# may have been chosen for that. They need not have been: in a shop that one had never seen, it had
# an expected calibration error of 0.41 for furniture, and its lowest accuracy of 15 kinds of goods,
# 0.20.
_SUSPICIOUS_ECE, _SUSPICIOUS_ACCURACY = 0.3, 0.5
# About no kind of goods was it right so seldom: such products were chosen for being wrong.
_HARDLY_EVER_RIGHT = 0.1
# The largest share of products whose answer is a label that none of them carries. A few dozen
# products of a shop miss some of its rare labels by chance, and some answers are wrong.
_MOST_MISSING = 0.1
_ADVICE = "label products that --suggest names"


def find_flaw(answers: Answers, calibrated: CalibratedSets, names: Sequence[str]) -> str | None:
    """Returns why nothing is to be fitted to these labels; None where nothing speaks against it.

    Args:
        answers: To the labelled products, each once, as the job reads it.
        calibrated: The checkpoint's own.
        names: The labels, in the order of the logits.
    """
    given = answers.targets.unique().tolist()
    if len(given) == 1:
        return f"all its labels are '{names[given[0]]}', which says nothing of others: {_ADVICE}"
    return _tell_mistakes(answers, calibrated, _HARDLY_EVER_RIGHT)


def find_doubt(answers: Answers, calibrated: CalibratedSets, names: Sequence[str]) -> str | None:
    """Returns what may be wrong with labels that are no flaw; None where nothing speaks for it."""
    mistakes = _tell_mistakes(answers, calibrated, _SUSPICIOUS_ACCURACY)
    return mistakes or _tell_missing(answers, names)


def _tell_mistakes(
    answers: Answers, calibrated: CalibratedSets, least_accuracy: float
) -> str | None:
    figures = CalibratedAnswers.by(answers, calibrated).measure()
    accuracy, ece = figures["accuracy"] or 0, figures["ece"] or 0
    if accuracy >= least_accuracy or ece <= _SUSPICIOUS_ECE:
        return None
    return (
        f"the classifier is right in {accuracy:.0%} of these products, far less than its "
        "confidence says. If they were chosen because it got them wrong, fitting teaches it its "
        f"mistakes: {_ADVICE}"
    )


def _tell_missing(answers: Answers, names: Sequence[str]) -> str | None:
    """Returns a sentence on labels that are often answered and never given; None if there are none.

    A shop may have its own word for all products of a label, so this is no flaw by itself.
    """
    answered = answers.logits.argmax(1)
    missing = answered[~torch.isin(answered, answers.targets)]
    share = len(missing) / len(answered)
    if share <= _MOST_MISSING:
        return None
    values, counts = missing.unique(return_counts=True)
    often = name_some(names[at] for at in values[counts.argsort(descending=True)].tolist())
    return (
        f"{share:.0%} of these products are answered as {often}, and none is labelled so. Fitting "
        f"teaches the classifier that the shop has no such products: if it has, {_ADVICE}"
    )
