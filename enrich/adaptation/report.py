"""What an adaptation did to each attribute: as a table for people, and as plain values."""

import math
from typing import Any

from enrich.adaptation.effect import READ_FROM, Effect, find_shifts
from enrich.markdown import Table, escape, format_figure, to_markdown
from enrich.training.measures import HEADINGS, Figures

_SHOWN = (
    "accuracy",
    "macro_f1",
    "recall_at_90_precision",
    "precision_at_90_threshold",
    "answered_at_90_threshold",
    "ece",
)

_SAMPLE_NOTE = (
    "The figures are of the labelled products. One in four that --suggest names is there because "
    "the classifier is unsure of it: figures of such a sample understate the whole shop."
)


def format_report(effects: dict[str, Effect]) -> str:
    """Returns the table as Markdown, and notes below it on what its figures do not show."""
    notes = [
        _tell_silence(attribute, effect)
        for attribute, effect in effects.items()
        if effect.is_better and effect.silenced
    ]
    notes += [_tell_trust(attribute, shift) for attribute, shift in find_shifts(effects).items()]
    notes.append(_SAMPLE_NOTE)
    return "\n".join([to_markdown(to_table(effects)), *(f"{note}\n" for note in notes)])


def to_table(effects: dict[str, Effect]) -> Table:
    """Returns each attribute's figures before and after, and whether it was adapted."""
    blocks = []
    for attribute, effect in effects.items():
        gain = f"{effect.gain.mean:+.3f} ± {effect.gain.error:.3f}"
        blocks.append(
            [
                [attribute, f"{effect.before['rows']:,}", "before", *_cells(effect.before), ""],
                [_verdict(effect), "", "after", *_cells(effect.after), gain],
            ]
        )
    columns = ("attribute", "products", "", *(HEADINGS[figure] for figure in _SHOWN), "gain, nats")
    return Table("Cross-validated on the labelled products", columns, blocks)


def summarise(effects: dict[str, Effect]) -> dict[str, Any]:
    """Returns the effects as plain values, without what was fitted."""
    return {
        attribute: {
            "adapted": effect.is_better,
            "gain_nats": round(effect.gain.mean, 4),
            # Labels of a single text tell nothing of the error.
            "gain_error_nats": (
                round(effect.gain.error, 4) if math.isfinite(effect.gain.error) else None
            ),
            "worse_from": [str(modalities) for modalities in effect.worse_from],
            "silenced": [str(modalities) for modalities in effect.silenced],
            "loses_answers": effect.loses_answers,
            "trust_shift": effect.trust_shift,
            "given_at_90": round(effect.given, 4),
            "before": effect.before,
            "after": effect.after,
        }
        for attribute, effect in effects.items()
    }


def _verdict(effect: Effect) -> str:
    if effect.is_better:
        return "adapted" + (": nothing answered at 90 %" if effect.falls_silent else "")
    return f"left as it was: {effect.drawback}"


def _tell_silence(attribute: str, effect: Effect) -> str:
    read_from = " or ".join(READ_FROM[modalities] for modalities in effect.silenced)
    where = "" if effect.falls_silent else f" from {read_from}"
    return (
        f"Nothing of {escape(attribute)} is answered{where} at 90 % any more, because these labels "
        "show no confidence that is right so often. More labels may find one."
    )


def _tell_trust(attribute: str, shift: float) -> str:
    trusted, other = ("pictures", "texts") if shift > 0 else ("texts", "pictures")
    return (
        f"For {escape(attribute)}, {trusted} of this shop are trusted more than before, and "
        f"{other} less (by {abs(shift):g}, where 2.2 makes 50 % to 90 %)."
    )


def _cells(figures: Figures) -> list[str]:
    return [format_figure(figures.get(figure)) for figure in _SHOWN]
