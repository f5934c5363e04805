"""The losses: image-text contrast for the warm-up, masked multitask for the labels.

And what may be added: whether a text is the image's own.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.training.labelled import UNLABELLED

TEMPERATURE = 0.07  # of the contrast, where CLIP begins


def label_losses(
    logits: dict[str, Float[Tensor, "B _"]],
    targets: Int[Tensor, "B K"],
    label_smoothing: float,
    labelled: Int[Tensor, " K"],
) -> dict[str, Float[Tensor, ""]]:
    """Returns for each attribute the mean cross-entropy over its labelled rows.

    Args:
        logits: Scores per attribute.
        targets: The labels' indices, attributes in the order of `logits`.
        label_smoothing: In [0, 1).
        labelled: Rows with a label of each attribute in the whole batch, of which these rows may be
            a part: so the losses of the parts add up to that of the batch.
    """
    losses = {}
    for column, (attribute, scores) in enumerate(logits.items()):
        total = F.cross_entropy(
            scores,
            targets[:, column],
            ignore_index=UNLABELLED,
            label_smoothing=label_smoothing,
            reduction="sum",
        )
        losses[attribute] = total / labelled[column].clamp(min=1)
    return losses


def multitask_loss(losses: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Returns the mean over attributes, of which there is at least one."""
    return torch.stack(list(losses.values())).mean()


def matching_loss(scores: Float[Tensor, " B"], own_text: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
    """Returns the binary cross-entropy of telling an image's own text from another's.

    The image-text matching of ALBEF (Li et al. 2021, arXiv 2107.07651). Without any row it is 0.
    """
    if len(scores) == 0:
        return scores.sum()
    return F.binary_cross_entropy_with_logits(scores.float(), own_text.float())


def count_labelled(targets: Int[Tensor, "B K"]) -> Int[Tensor, " K"]:
    """Returns for each attribute how many rows carry a label of it."""
    return (targets != UNLABELLED).sum(0)


def contrastive_loss(
    image_embeds: Float[Tensor, "B D"],
    text_embeds: Float[Tensor, "B D"],
    group_ids: Int[Tensor, " B"],
    temperature: float = TEMPERATURE,
) -> Float[Tensor, ""]:
    """Returns CLIP's symmetric loss (Radford et al., arXiv 2103.00020).

    Products of one group are near-identical, so they are no negatives of each other. Without any
    row it is 0.
    """
    if len(image_embeds) == 0:
        return (image_embeds.sum() + text_embeds.sum()).float()
    image = F.normalize(image_embeds.float(), dim=1)
    text = F.normalize(text_embeds.float(), dim=1)
    scores = image @ text.T / temperature
    same_group = group_ids.unsqueeze(0) == group_ids.unsqueeze(1)
    same_group.fill_diagonal_(False)
    scores = scores.masked_fill(same_group, float("-inf"))
    here = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, here) + F.cross_entropy(scores.T, here)) / 2
