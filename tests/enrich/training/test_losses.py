"""Losses count what is labelled and contrast what differs."""

import math

import pytest
import torch
from torch.nn import functional as F

from enrich.training.losses import (
    UNLABELLED,
    contrastive_loss,
    count_labelled,
    label_losses,
    matching_loss,
    multitask_loss,
)


def _loss(
    logits: dict[str, torch.Tensor], targets: torch.Tensor, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Returns the loss of rows that are a whole batch."""
    return multitask_loss(label_losses(logits, targets, label_smoothing, count_labelled(targets)))


def test_unlabelled_rows_do_not_change_the_loss() -> None:
    torch.manual_seed(0)
    logits = {"color": torch.randn(4, 3), "style": torch.randn(4, 2)}
    targets = torch.tensor([[0, 1], [2, 0], [1, 1], [0, 0]])
    loss = _loss(logits, targets, 0.1)
    wider = {
        a: torch.cat([scores, 50 * torch.randn(6, scores.shape[1])]) for a, scores in logits.items()
    }
    padded = torch.cat([targets, torch.full((6, 2), UNLABELLED)])
    torch.testing.assert_close(_loss(wider, padded, 0.1), loss)


def test_loss_is_the_mean_over_attributes_of_the_mean_over_labelled_rows() -> None:
    logits = {"color": torch.zeros(3, 4), "style": torch.zeros(3, 2)}
    targets = torch.tensor([[0, 1], [UNLABELLED, 0], [UNLABELLED, 1]])
    wanted = (math.log(4) + math.log(2)) / 2
    assert _loss(logits, targets).item() == pytest.approx(wanted)


def test_an_attribute_without_any_label_in_the_batch_adds_nothing() -> None:
    logits = {"color": torch.randn(3, 4, requires_grad=True), "style": torch.zeros(3, 2)}
    targets = torch.tensor([[UNLABELLED, 1]] * 3)
    loss = _loss(logits, targets)
    assert loss.item() == pytest.approx(math.log(2) / 2)
    loss.backward()
    assert (logits["color"].grad == 0).all()


def test_the_losses_of_parts_add_up_to_the_batchs() -> None:
    torch.manual_seed(0)
    logits = {"color": torch.randn(6, 3), "style": torch.randn(6, 2)}
    # Unlike many labels in the two parts: their own means would not add up.
    targets = torch.tensor([[0, 1], [2, 0], [1, 1], *[[UNLABELLED, 1]] * 2, [1, UNLABELLED]])
    labelled = count_labelled(targets)
    parts = [
        label_losses({a: t[rows] for a, t in logits.items()}, targets[rows], 0.1, labelled)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(map(multitask_loss, parts)), _loss(logits, targets, 0.1))


def test_contrast_of_no_product_is_zero_and_moves_no_weight() -> None:
    nothing = torch.empty(0, 8, requires_grad=True)
    loss = contrastive_loss(nothing, nothing, torch.empty(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0


def test_contrast_is_least_where_pictures_meet_their_own_texts() -> None:
    embeds, groups = torch.eye(4), torch.arange(4)
    matched = contrastive_loss(embeds, embeds, groups)
    assert matched < 0.01
    assert contrastive_loss(embeds, embeds.roll(1, 0), groups) > 10
    same = torch.ones(4, 4)
    assert contrastive_loss(same, same, groups).item() == pytest.approx(math.log(4), abs=1e-4)


def test_contrast_does_not_part_near_identical_products() -> None:
    embeds = torch.eye(4)
    embeds[1] = embeds[0]
    apart = contrastive_loss(embeds, embeds, torch.arange(4))
    grouped = contrastive_loss(embeds, embeds, torch.tensor([0, 0, 1, 2]))
    assert apart > 0.3 and grouped < 0.01


def test_contrast_looks_at_directions_and_not_at_lengths() -> None:
    torch.manual_seed(1)
    image, text, groups = torch.randn(5, 8), torch.randn(5, 8), torch.arange(5)
    longer = contrastive_loss(100 * image, 0.01 * text, groups)
    torch.testing.assert_close(longer, contrastive_loss(image, text, groups))


def test_contrast_is_the_same_from_both_sides() -> None:
    torch.manual_seed(2)
    image, text, groups = torch.randn(5, 8), torch.randn(5, 8), torch.arange(5)
    torch.testing.assert_close(
        contrastive_loss(image, text, groups), contrastive_loss(text, image, groups)
    )


def test_a_match_is_told_by_a_score_above_zero() -> None:
    scores, own_text = torch.tensor([2.0, -2.0, 2.0]), torch.tensor([True, False, False])
    right, wrong = F.softplus(torch.tensor([-2.0, 2.0]))
    torch.testing.assert_close(matching_loss(scores, own_text), (2 * right + wrong) / 3)
