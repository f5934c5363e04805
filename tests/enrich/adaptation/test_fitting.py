"""A correction layer learns a shop's conventions, and no more than its labels carry."""

import math

import pytest
import torch

from enrich.adaptation.fitting import Labelled, choose_strength, fit_layer

LABELS = 6


def _shop(rows: int, seed: int, confused: tuple[int, int] | None = None) -> Labelled:
    """A classifier that is as sure as it should be; what it calls one label may be another here."""
    random = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, LABELS, generator=random)
    targets = logits.softmax(1).multinomial(1, generator=random).squeeze(1)
    if confused is not None:
        targets[targets == confused[0]] = confused[1]
    return Labelled(logits, targets, torch.zeros(rows))


def _accuracy(labelled: Labelled, strength: float, unseen: Labelled) -> float:
    answers = fit_layer(labelled, strength)(unseen.logits).argmax(1)
    return (answers == unseen.targets).float().mean().item()


def test_what_a_shop_calls_otherwise_is_learnt_from_few_labels() -> None:
    labelled, unseen = _shop(150, 0, confused=(1, 2)), _shop(2000, 1, confused=(1, 2))
    before = _accuracy(labelled, math.inf, unseen)
    assert _accuracy(labelled, 3.0, unseen) > before + 0.06


def test_an_infinite_prior_changes_no_answer() -> None:
    labelled = _shop(50, 0, confused=(1, 2))
    corrected = fit_layer(labelled, math.inf)(labelled.logits)
    assert torch.allclose(corrected.softmax(1), labelled.logits.softmax(1), atol=1e-6)


def test_a_constant_added_to_all_scores_changes_nothing() -> None:
    labelled = _shop(100, 0, confused=(1, 2))
    layer = fit_layer(labelled, 3.0)
    assert torch.allclose(layer(labelled.logits + 7), layer(labelled.logits), atol=1e-4)


@pytest.mark.parametrize(("confused", "weak"), [((1, 2), True), (None, False)])
def test_the_prior_is_weak_where_labels_disagree_and_strong_where_they_do_not(
    confused: tuple[int, int] | None, weak: bool
) -> None:
    labelled = _shop(200, 0, confused)
    folds = torch.arange(200) // 40
    assert (choose_strength(labelled, folds) <= 10) == weak


def test_a_label_that_nobody_gave_keeps_its_chance() -> None:
    labelled = _shop(150, 0)
    seen = labelled[labelled.targets != 5]
    unseen = _shop(2000, 1)
    fives = unseen[unseen.targets == 5]
    before = _accuracy(seen, math.inf, fives)
    # Where most of the labels say that it does not occur, it is answered less often, and still is.
    assert before / 2 < _accuracy(seen, 10.0, fives) < before
