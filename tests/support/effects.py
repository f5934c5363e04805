"""An adaptation of one attribute that changes no figure."""

from enrich.adaptation.trial import Effect, Gain
from enrich.calibration import CalibratedSets
from enrich.training.measures import Figures


def make_effect(figures: Figures, gain: Gain, calibrated: CalibratedSets) -> Effect:
    return Effect(
        before=figures,
        after=figures,
        gain=gain,
        gains={},
        silenced=[],
        bias_shift=0.0,
        correction=None,
        calibrated=calibrated,
        given=0.5,
    )
