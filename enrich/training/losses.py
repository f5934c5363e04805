"""The losses of training, and the objective that adds them up.

A new loss is a term of `Objective`, with its weight, and what it is computed from in `Part`.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClipTowers, CocaTowers
from enrich.classifiers.interface import Classifier, Tokens
from enrich.engine.device import autocast
from enrich.training.batches import Part
from enrich.training.config import Phase, TrainingConfig
from enrich.training.labelled import UNLABELLED

TEMPERATURE = 0.07  # of the contrast, where CLIP begins

_MATCHING_WEIGHT = 0.5
_LOWEST_TEMPERATURE = 0.01  # CLIP's own bound, at which most published ones have ended


def label_losses(
    logits: dict[str, Float[Tensor, "B _"]],
    targets: Int[Tensor, "B K"],
    label_smoothing: float,
    labelled: Int[Tensor, " K"],
) -> dict[str, Float[Tensor, ""]]:
    """Return the mean cross-entropy of each attribute over its labelled rows.

    Args:
        logits: scores by attribute.
        targets: indices of the labels, attributes in the order of `logits`.
        label_smoothing: in [0, 1).
        labelled: labelled rows of the whole batch by attribute, so that the losses of parts add up
            to the loss of the batch.
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
    """Return the mean over one or more attributes."""
    return torch.stack(list(losses.values())).mean()


def matching_loss(scores: Float[Tensor, " B"], own_text: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the binary cross-entropy of telling an image's own text from another's.

    Image-text matching of ALBEF (Li et al. 2021, arXiv 2107.07651). Without a row it is 0.
    """
    if len(scores) == 0:
        return scores.sum()
    return F.binary_cross_entropy_with_logits(scores.float(), own_text.float())


def contrastive_loss(
    image_embeds: Float[Tensor, "B D"],
    text_embeds: Float[Tensor, "B D"],
    group_ids: Int[Tensor, " B"],
    temperature: float = TEMPERATURE,
) -> Float[Tensor, ""]:
    """Return CLIP's symmetric loss (Radford et al. 2021, arXiv 2103.00020).

    Near-identical products, of one group, are not negatives of each other. Without a row it is 0.
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


class Objective(nn.Module):
    """The loss of a part of a batch.

    The losses against labels of all parts add up to the loss of the batch. Contrast and matching
    are means over the rows of a part with both modalities, weighted by the part's size. Classifier
    and losses are one module, because DistributedDataParallel shares gradients of the outputs of a
    module's forward only.
    """

    def __init__(self, classifier: Classifier, phase: Phase, config: TrainingConfig) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = phase.loss
        self.label_smoothing = config.label_smoothing
        # For a classifier of one modality, the picture alone is the same task once more.
        reads_both = not (classifier.image_tower.absent or classifier.text_tower.absent)
        self.image_alone = config.image_alone if reads_both else 0.0

    def forward(self, part: Part) -> Float[Tensor, ""]:
        """Return the part's share of the loss of its batch."""
        inputs = part.inputs
        with autocast(inputs.has_text.device):
            tokens = self.classifier.towers(inputs)
            vectors = self.classifier.join(tokens, inputs.has_image, inputs.has_text)
        both = inputs.has_image & inputs.has_text
        if self.loss == "contrastive":
            contrast = contrastive_loss(
                vectors.image[both],
                vectors.text[both],
                part.groups[both],
                contrast_temperature(self.classifier),
            )
            return part.share * contrast
        output = self.classifier.answer(vectors)
        loss = multitask_loss(
            label_losses(output.logits, part.targets, self.label_smoothing, part.labelled)
        )
        if self.image_alone and inputs.has_image.any():
            loss = loss + self.image_alone * self._of_images_alone(part, tokens)
        if output.matching is not None:
            matching = matching_loss(output.matching[both], part.own_text[both])
            loss = loss + _MATCHING_WEIGHT * part.share * matching
        return loss

    def _of_images_alone(self, part: Part, tokens: Tokens) -> Float[Tensor, ""]:
        """Return the loss of answers to the same pictures without a text."""
        seen = part.inputs.has_image
        shown = seen[seen]
        with autocast(seen.device):
            vectors = self.classifier.join(tokens.images_alone(seen), shown, ~shown)
        alone = self.classifier.answer(vectors)
        losses = label_losses(
            alone.logits, part.image_targets[seen], self.label_smoothing, part.labelled
        )
        return multitask_loss(losses)


def contrast_temperature(classifier: Classifier) -> float:
    """Return the last temperature of published towers, or CLIP's first one.

    At another temperature the embeddings of published towers would have to adapt first.
    """
    towers, logit_scale = classifier.config.towers, None
    if classifier.contrasts_towers and isinstance(towers, ClipTowers):
        logit_scale = towers.clip.get("logit_scale_init_value")
    elif classifier.contrasts_towers and isinstance(towers, CocaTowers):
        logit_scale = towers.coca.get("init_logit_scale")
    if logit_scale is None:
        return TEMPERATURE
    return max(math.exp(-logit_scale), _LOWEST_TEMPERATURE)
