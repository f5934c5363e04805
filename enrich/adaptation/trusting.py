"""Chooses how far a shop's pictures are trusted against its texts.

To a classifier the texts of a shop that it has never seen look like those of other products. Then
it goes by the picture, although the text may tell more. What puts that right is one number for each
attribute, and a few dozen labels are enough to choose it, as was measured.
"""

from jaxtyping import Bool
from torch import Tensor

from enrich.adaptation.readings import Readings
from enrich.adaptation.trial import summed_loss
from enrich.calibration import CalibratedSets

# The standard deviation of the normal prior on the shift. A shift of 3 multiplies the odds of the
# picture's weight by 20.
_SPREAD = 3.0


def choose_shift(readings: Readings, seen: Bool[Tensor, " N"], calibrated: CalibratedSets) -> float:
    """Returns the shift of the trust in pictures that makes the labels, with the prior, likeliest.

    Args:
        readings: Of one attribute.
        seen: Which of all labelled products count.
        calibrated: The checkpoint's temperatures.
    """

    def penalised_loss(shift: float) -> float:
        both = readings.at(shift)[0]
        both = both.where(seen[both.product])
        loss = summed_loss(both.logits, both.log_temperature(calibrated), both.targets)
        return loss.item() + (shift / _SPREAD) ** 2 / 2

    # 0 first: of equals it is chosen.
    return min((0.0, *readings.weighed), key=penalised_loss)
