"""A classifier's answers to labelled products: its scores, and what the job would say of them.

Knows nothing of how they were asked for, or of how calibrations are fitted.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.calibration import TARGET_PRECISIONS, CalibratedSets
from enrich.classifiers.calibrated import Layer, apply_layer, at_temperatures, log_temperatures
from enrich.lexicon import Evidence, weigh
from enrich.records import Modalities
from enrich.training.calibration import LabelledLogits
from enrich.training.measures import Figures, measure, measure_thresholds


@dataclass(frozen=True, slots=True)
class Answers:
    """The scores of M products that carry a label of one attribute.

    `product` is the number of each row's product, `groups` that of its group of near-identical
    products. `modalities` are what was read of the product, `logits` are before temperatures,
    `embeds` what `join_embeds` returns. `image_weight` is the image's share in each answer, in
    [0, 1]; None where the classifier does not weigh its modalities. `named` are the labels that
    each product's title names.
    """

    product: Int[Tensor, " M"]
    groups: Int[Tensor, " M"]
    modalities: list[Modalities]
    logits: Float[Tensor, "M C"]
    embeds: Float[Tensor, "M E"]
    targets: Int[Tensor, " M"]
    image_weight: Float[Tensor, " M"] | None
    named: Bool[Tensor, "M C"]

    def __len__(self) -> int:
        return len(self.targets)

    def where(self, kept: Bool[Tensor, " M"]) -> "Answers":
        """Return the rows that a mask keeps."""
        return Answers(
            product=self.product[kept],
            groups=self.groups[kept],
            modalities=[self.modalities[row] for row in kept.nonzero().flatten()],
            logits=self.logits[kept],
            embeds=self.embeds[kept],
            targets=self.targets[kept],
            image_weight=None if self.image_weight is None else self.image_weight[kept],
            named=self.named[kept],
        )

    def corrected(self, layer: Layer | None) -> "Answers":
        """Return the answers with corrected logits; None leaves them as they are."""
        return replace(self, logits=apply_layer(self.logits, self.embeds, layer))

    def log_temperature(self, calibrated: CalibratedSets) -> Float[Tensor, " M"]:
        """Return the logarithm of each row's temperature."""
        return log_temperatures([calibrated[m] for m in self.modalities], self.image_weight)

    def read_from(self, modalities: Modalities) -> "Answers":
        """Return the rows that were read from exactly these modalities."""
        mine = [own is modalities for own in self.modalities]
        return self.where(torch.tensor(mine, dtype=torch.bool))

    def to_calibrate(self, share: float = 1.0) -> LabelledLogits:
        """Return what calibration needs of rows of one set of modalities; each counts `share`."""
        # A row of one modality has all its weight there, which tells nothing. Without any row
        # `mixed` is true: temperatures use the weights only if every condition has them.
        mixed = all(m is Modalities.IMAGE_AND_TEXT for m in self.modalities)
        return LabelledLogits(
            self.logits,
            self.targets,
            self.image_weight if mixed else None,
            share,
            self.named,
            self.groups,
        )


@dataclass(frozen=True, slots=True)
class CalibratedAnswers:
    """Answers as probabilities, and the confidence from which on each of them is given.

    `of` are the answers before calibration. `thresholds` maps a target precision to the thresholds
    of the rows, which depend on the modalities of each.
    """

    of: Answers
    probs: Float[Tensor, "M C"]
    thresholds: dict[float, Float[Tensor, " M"]]

    @classmethod
    def by(
        cls, answers: Answers, calibrated: CalibratedSets, correction: Layer | None = None
    ) -> "CalibratedAnswers":
        """Return the answers as the job would give them, corrected if a correction is given."""
        rows = [calibrated[m] for m in answers.modalities]
        probs = at_temperatures(answers.corrected(correction).logits, rows, answers.image_weight)
        best = probs.argmax(1)
        evidence = weigh(answers.named.numpy(), best.numpy()).tolist()
        each = [*zip(answers.modalities, evidence, best.tolist(), strict=True)]
        kinds, labels = list(Evidence), probs.shape[1]
        thresholds = {}
        for precision in TARGET_PRECISIONS:
            at = {m: one.at_precision(precision, labels) for m, one in calibrated.items()}
            least = [max(at[m].by_evidence[kinds[e]], at[m].by_label[b]) for m, e, b in each]
            thresholds[precision] = torch.tensor(least)
        return cls(of=answers, probs=probs, thresholds=thresholds)

    def measure(self) -> Figures:
        """Return the figures of the answers, and of the thresholds where there is a row."""
        figures = measure(self.probs, self.of.targets)
        if len(self.of):
            figures |= measure_thresholds(self.probs, self.of.targets, self.thresholds)
        return figures
