"""A classifier and the losses that a phase of its training makes small.

A new loss is a term here: it needs its weight, and what it is computed from in `Part`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.precision import autocast
from enrich.training.config import Phase, TrainingConfig
from enrich.training.losses import contrastive_loss, matching_loss, multitask_loss
from enrich.training.parts import Part

_MATCHING_WEIGHT = 0.5


class Objective(nn.Module):
    """The loss of a part of a batch; over all of the parts the labels' adds up to the batch's.

    Contrast and matching are means over the rows of a part that show both, and parts count by size.

    One module, because DistributedDataParallel knows of no loss that its forward does not return.
    `log_priors` are of the training rows, per attribute.
    """

    def __init__(
        self,
        classifier: Classifier,
        phase: Phase,
        config: TrainingConfig,
        log_priors: dict[str, Tensor],
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = phase.loss
        self.label_smoothing = config.label_smoothing
        # Where there is no text to leave out, the second answer would be the first once more.
        reads_both = not (classifier.image_tower.absent or classifier.text_tower.absent)
        self.image_alone = config.image_alone if reads_both else 0.0
        self.blend_images = config.blend_images
        # Logit adjustment: an answer must win by what its label's frequency gives away.
        self.shifts = {a: config.balance * priors for a, priors in log_priors.items()}

    def forward(self, part: Part) -> Float[Tensor, ""]:
        """Returns the part's addition to the loss of its batch."""
        is_blended = self.blend_images and self.loss == "multitask"
        if is_blended and not part.inputs.has_text.any():
            return self._images_loss(part.inputs, part, part.targets)
        output = self._answer(part.inputs)
        if self.loss == "contrastive":
            both = part.inputs.has_image & part.inputs.has_text
            contrast = contrastive_loss(
                output.image_embeds[both], output.text_embeds[both], part.groups[both]
            )
            return part.share * contrast
        loss = self._multitask(output, part, part.targets)
        if self.image_alone and part.inputs.has_image.any():
            targets = part.targets[part.inputs.has_image]
            alone = self._images_loss(part.inputs.images_alone(), part, targets)
            loss = loss + self.image_alone * alone
        if output.matching is not None:
            both = part.inputs.has_image & part.inputs.has_text
            matching = matching_loss(output.matching[both], part.own_text[both])
            loss = loss + _MATCHING_WEIGHT * part.share * matching
        return loss

    def _images_loss(
        self, inputs: ModelInputs, part: Part, targets: Int[Tensor, "B K"]
    ) -> Float[Tensor, ""]:
        """Returns the loss of answers from pictures alone, blended with others where wanted.

        A text cannot be blended: it says what one product is.
        """
        if not self.blend_images:
            return self._multitask(self._answer(inputs), part, targets)
        alpha = torch.tensor(self.blend_images)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        other = torch.randperm(len(targets)).to(targets.device)
        output = self._answer(inputs.blend_images(other, share))
        own, others = (self._multitask(output, part, each) for each in (targets, targets[other]))
        return share * own + (1 - share) * others

    def _answer(self, inputs: ModelInputs) -> ModelOutput:
        with autocast(inputs.has_text.device):
            output: ModelOutput = self.classifier(inputs)
        return output

    def _multitask(self, output: ModelOutput, part: Part, targets: Tensor) -> Float[Tensor, ""]:
        shifted = {a: logits + self.shifts[a] for a, logits in output.logits.items()}
        return multitask_loss(shifted, targets, self.label_smoothing, part.labelled)
