"""What a drill measures, how it is told, and from when on the gate is good enough.

Tolerances and the level of false alarms are the defaults of `ValidationSettings`. They were chosen
beforehand on other products (a real shop by season and year, among others); nothing was tuned to
the runs of a drill.
"""

from collections.abc import Mapping, Sequence

from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.answers import DrawnAnswers
from expectations.drill.runs import (
    Case,
    measure_detection,
    measure_false_alarms,
    measure_false_alarms_by_category,
)
from expectations.settings import ValidationSettings

# The share of runs that are stopped, in [0, 1], by what they are and by their size in products.
StoppedShares = dict[str, dict[int, float]]

SOUND = "sound"
MOST_FALSE_ALARMS = 0.01

SETTINGS = ValidationSettings()
# Nothing may really have moved, so all that is allowed is what chance does: runs under these show
# whether the formulas of chance hold.
NO_TOLERANCE = ValidationSettings(max_divergence=0, max_confidence_shift=0, max_modality_shift=0)


def measure_alarms(
    sound: DrawnAnswers, sizes: Sequence[int], baseline_size: int, runs: int
) -> StoppedShares:
    """Returns how often sound runs are stopped, of `runs` that are drawn of each kind and size."""
    alarms = {
        name: {
            size: measure_false_alarms(sound, size, baseline_size, runs, settings) for size in sizes
        }
        for name, settings in ((SOUND, SETTINGS), ("sound, tolerances 0", NO_TOLERANCE))
    }
    if sound.categories is not None:
        alarms["sound, one category"] = measure_false_alarms_by_category(
            sound, sizes, baseline_size, runs, SETTINGS
        )
    return alarms


def measure_detected(
    cases: Mapping[str, Case], baseline: LabelBaseline, sizes: Sequence[int], runs: int
) -> StoppedShares:
    """Returns how often faulty runs are stopped, of `runs` that are drawn of each case and size."""
    return {
        name: {size: measure_detection(case, size, baseline, runs, SETTINGS) for size in sizes}
        for name, case in cases.items()
        if name != SOUND
    }


def is_good(false_alarms: float, detected: Mapping[str, float]) -> bool:
    """Returns whether the gate lets sound runs pass and stops every faulty one.

    Args:
        false_alarms: the share of sound runs that are stopped.
        detected: the share of faulty runs that are stopped, by case.
    """
    return false_alarms <= MOST_FALSE_ALARMS and min(detected.values()) == 1


def name_reason(check: Check) -> str:
    """Returns what a check is about, in few words."""
    return f"{check.about} {check.words.removesuffix(' near baseline')}".strip()
