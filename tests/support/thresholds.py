"""Thresholds of a calibration that are the same for every kind of evidence."""

from enrich.calibration import EvidenceThresholds
from enrich.lexicon import Evidence


def alike(at_90: float | None, at_95: float | None = None) -> dict[str, EvidenceThresholds]:
    """Returns the thresholds at both target precisions; None never answers."""
    return {"0.90": dict.fromkeys(Evidence, at_90), "0.95": dict.fromkeys(Evidence, at_95)}
