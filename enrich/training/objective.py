"""A classifier and the losses that a phase of its training makes small.

A new loss is a term here: it needs its weight, and what it is computed from in `Part`.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn

from enrich.classifiers.config import ClipTowers, CocaTowers
from enrich.classifiers.interface import Classifier, Tokens
from enrich.precision import autocast
from enrich.training.config import Phase, TrainingConfig
from enrich.training.losses import (
    TEMPERATURE,
    contrastive_loss,
    label_losses,
    matching_loss,
    multitask_loss,
)
from enrich.training.parts import Part

_MATCHING_WEIGHT = 0.5
_LOWEST_TEMPERATURE = 0.01  # CLIP's own bound, at which most published ones have ended


class Objective(nn.Module):
    """The loss of a part of a batch.

    The losses against labels of all parts add up to that of the batch. Contrast and matching are
    means over the rows of a part that show both modalities, weighted by the part's size.

    Classifier and losses are one module, because DistributedDataParallel shares gradients only of
    what the module's forward returns.
    """

    def __init__(self, classifier: Classifier, phase: Phase, config: TrainingConfig) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = phase.loss
        self.label_smoothing = config.label_smoothing
        # To a classifier of one modality, the picture alone would be the same question once more.
        reads_both = not (classifier.image_tower.absent or classifier.text_tower.absent)
        self.image_alone = config.image_alone if reads_both else 0.0

    def forward(self, part: Part) -> Float[Tensor, ""]:
        """Returns the part's addition to the loss of its batch."""
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
        """Returns the loss of answers to the same pictures joined with no text."""
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
    """Returns the temperature at which the training of its towers ended, else where CLIP's begins.

    At another temperature the embeddings of published towers would first have to adapt to it.
    """
    towers, logit_scale = classifier.config.towers, None
    if classifier.contrasts_towers and isinstance(towers, ClipTowers):
        logit_scale = towers.clip.get("logit_scale_init_value")
    elif classifier.contrasts_towers and isinstance(towers, CocaTowers):
        logit_scale = towers.coca.get("init_logit_scale")
    if logit_scale is None:
        return TEMPERATURE
    return max(math.exp(-logit_scale), _LOWEST_TEMPERATURE)
