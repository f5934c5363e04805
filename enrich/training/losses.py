"""The two losses: image-text contrast for the warm-up, masked multitask for the labels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

UNLABELLED = -100  # what cross_entropy ignores


def multitask_loss(
    logits: dict[str, Float[Tensor, "B _"]],
    targets: Int[Tensor, "B K"],
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Returns the mean over attributes of the cross-entropy over their labelled rows."""
    losses = []
    for column, scores in enumerate(logits.values()):
        labelled = (targets[:, column] != UNLABELLED).sum().clamp(min=1)
        total = F.cross_entropy(
            scores,
            targets[:, column],
            ignore_index=UNLABELLED,
            label_smoothing=label_smoothing,
            reduction="sum",
        )
        losses.append(total / labelled)
    return torch.stack(losses).mean()


def contrastive_loss(
    image_embeds: Float[Tensor, "B D"],
    text_embeds: Float[Tensor, "B D"],
    group_ids: Int[Tensor, " B"],
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Returns CLIP's symmetric loss (Radford et al., arXiv 2103.00020).

    Products of one group are near-identical, so they are no negatives of each other.
    """
    image = F.normalize(image_embeds.float(), dim=1)
    text = F.normalize(text_embeds.float(), dim=1)
    scores = image @ text.T / temperature
    same_group = group_ids.unsqueeze(0) == group_ids.unsqueeze(1)
    same_group.fill_diagonal_(False)
    scores = scores.masked_fill(same_group, float("-inf"))
    here = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, here) + F.cross_entropy(scores.T, here)) / 2
