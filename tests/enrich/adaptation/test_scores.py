"""A correction layer learns a shop's conventions, and no more than its labels carry."""

import math
from dataclasses import replace

import pytest
import torch

from enrich.adaptation.scores import choose_strength, fit_layer
from enrich.calibration import CalibratedModalities
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.training.answers import Answers

LABELS, WIDTH = 6, 12
_NEVER = {name: dict.fromkeys(Evidence) for name in ("0.90", "0.95")}
_PLAIN = CalibratedModalities(temperature=1, thresholds=_NEVER, rows=0)
BASE = dict.fromkeys(Modalities, _PLAIN)


def _shop(rows, seed, confused=None):
    """A classifier that is as sure as it should be; what it calls one label may be another here.

    Of every other product there is no text. The pictures' embeddings say nothing.
    """
    random = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, LABELS, generator=random)
    targets = logits.softmax(1).multinomial(1, generator=random).squeeze(1)
    if confused is not None:
        targets[targets == confused[0]] = confused[1]
    embeds = torch.ones(rows, 2 * WIDTH + 2)
    embeds[:, :WIDTH] = 5 + torch.randn(rows, WIDTH, generator=random) / 100
    embeds[::2, WIDTH + 1 :] = 0
    unnamed = torch.zeros(rows, LABELS, dtype=torch.bool)
    shown = [Modalities.IMAGE if row % 2 == 0 else Modalities.IMAGE_AND_TEXT for row in range(rows)]
    each = torch.arange(rows)
    return Answers(each, each, shown, logits, embeds, targets, None, unnamed)


def _seen(rows, seed):
    """A shop whose goods the towers tell apart; the classifier knows nothing of them."""
    shop = _shop(rows, seed)
    random = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, LABELS, (rows,), generator=random)
    shop.embeds[torch.arange(rows), targets] += 0.02
    return replace(shop, logits=shop.logits / 10, targets=targets)


def _accuracy(labelled, strength, unseen):
    answers = unseen.corrected(fit_layer(labelled, BASE, strength)).logits.argmax(1)
    return (answers == unseen.targets).float().mean().item()


def test_goods_that_the_towers_tell_apart_are_learnt_from_few_labels():
    labelled, unseen = _seen(150, 0), _seen(2000, 1)
    before = _accuracy(labelled, math.inf, unseen)
    assert before < 0.3 and _accuracy(labelled, 3.0, unseen) > before + 0.2


def test_neither_origin_nor_unit_of_the_embeddings_matters():
    labelled, (origin, unit) = _seen(150, 0), (3.0, 40.0)
    moved = torch.eye(2 * WIDTH + 2)
    moved[:WIDTH, :WIDTH] *= unit
    moved[WIDTH, :WIDTH] = origin  # for the rows that have a picture
    other = replace(labelled, embeds=labelled.embeds @ moved)
    answers, others = (
        fit_layer(one, BASE, 3.0)(one.logits, one.embeds, one.named) for one in (labelled, other)
    )
    torch.testing.assert_close(answers, others, atol=0.02, rtol=0)


def test_what_texts_name_is_learnt_from_few_labels():
    labelled, unseen = (_named(rows, seed) for rows, seed in ((60, 0), (2000, 1)))
    before = _accuracy(labelled, math.inf, unseen)
    assert before < 0.3 and _accuracy(labelled, 100.0, unseen) > before + 0.4


def _named(rows, seed):
    """A shop whose texts name the label, and of every fifth product another one."""
    shop = _shop(rows, seed)
    random = torch.Generator().manual_seed(seed)
    targets, others = torch.randint(0, LABELS, (2, rows), generator=random)
    named = torch.where(torch.arange(rows) % 5 == 0, others, targets)
    one_hot = torch.nn.functional.one_hot(named, LABELS).bool()
    return replace(shop, logits=shop.logits / 10, targets=targets, named=one_hot)


def test_an_embedding_that_is_always_the_same_says_nothing():
    labelled = _shop(100, 0, confused=(1, 2))
    layer = fit_layer(labelled, BASE, 3.0)
    assert layer.embeds_weight[:, WIDTH + 1 :].abs().max() < 1e-3 < layer.embeds_weight.abs().max()


def test_an_infinite_prior_changes_no_answer():
    labelled = _shop(50, 0, confused=(1, 2))
    corrected = labelled.corrected(fit_layer(labelled, BASE, math.inf))
    assert torch.allclose(corrected.logits.softmax(1), labelled.logits.softmax(1), atol=1e-6)


def test_a_constant_added_to_all_scores_changes_nothing():
    labelled = _shop(100, 0, confused=(1, 2))
    layer = fit_layer(labelled, BASE, 3.0)
    moved, there = (layer(labelled.logits + by, labelled.embeds, labelled.named) for by in (7, 0))
    assert torch.allclose(moved, there, atol=1e-4)


@pytest.mark.parametrize(("confused", "weak"), [((1, 2), True), (None, False)])
def test_the_prior_is_weak_where_labels_disagree_and_strong_where_they_do_not(confused, weak):
    labelled = _shop(200, 0, confused)
    assert (choose_strength(labelled, BASE) <= 10) == weak


def test_a_label_that_nobody_gave_keeps_its_chance():
    labelled = _shop(150, 0)
    seen = labelled.where(labelled.targets != 5)
    unseen = _shop(2000, 1)
    fives = unseen.where(unseen.targets == 5)
    before = _accuracy(seen, math.inf, fives)
    # Where most of the labels say that it does not occur, it is answered less often, and still is.
    assert before / 2 < _accuracy(seen, 10.0, fives) < before
