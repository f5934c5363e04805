"""Answers of a classifier to labelled products, before and after calibration."""

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
    """The scores of M products with a label of one attribute.

    Attributes:
        product: number of each row's product.
        groups: number of each row's group of near-identical products.
        modalities: modalities that were read of each product.
        logits: scores before temperatures.
        embeds: vectors as `join_embeds` returns them.
        targets: index of each row's label.
        image_weight: share of the image in each answer, in [0, 1]; None if the classifier does not
            weigh its modalities.
        named: labels that each product's title names.
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
        """Select rows by a mask."""
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
        """Return the answers with logits corrected by a layer, if one is given."""
        return replace(self, logits=apply_layer(self.logits, self.embeds, self.named, layer))

    def log_temperature(self, calibrated: CalibratedSets) -> Float[Tensor, " M"]:
        """Return the logarithm of each row's temperature."""
        return log_temperatures([calibrated[m] for m in self.modalities], self.image_weight)

    def read_from(self, modalities: Modalities) -> "Answers":
        """Return the rows that were read from exactly these modalities."""
        mine = [own is modalities for own in self.modalities]
        return self.where(torch.tensor(mine, dtype=torch.bool))

    def to_calibrate(self, share: float = 1.0) -> LabelledLogits:
        """Return the input of calibration, rows of one set of modalities."""
        # A row of one modality has all its weight there. Without a row `mixed` is true, because
        # temperatures use the weights only if every condition has them.
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
    """Probabilities of answers, and the threshold of each.

    `of` are the answers before calibration. `thresholds` maps a target precision to the confidences
    from which on each row is answered.
    """

    of: Answers
    probs: Float[Tensor, "M C"]
    thresholds: dict[float, Float[Tensor, " M"]]

    @classmethod
    def by(
        cls, answers: Answers, calibrated: CalibratedSets, correction: Layer | None = None
    ) -> "CalibratedAnswers":
        """Return the answers as the job gives them, after a correction if one is given."""
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
        """Return the figures of answers and thresholds."""
        figures = measure(self.probs, self.of.targets)
        if len(self.of):
            figures |= measure_thresholds(self.probs, self.of.targets, self.thresholds)
        return figures
