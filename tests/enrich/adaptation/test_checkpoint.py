"""An adapted checkpoint says all that was done to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from enrich.adaptation.adapt import Gain, Outcome
from enrich.adaptation.checkpoint import summarise, to_table, write_adapted
from enrich.calibration import Correction
from enrich.classifiers.manifest import read_manifest
from enrich.records import Modalities

ANSWERED = {"precision_at_90_threshold": 0.95, "answered_at_90_threshold": 0.5}
OUTCOME = Outcome(
    before={"rows": 60, "accuracy": 0.5, **ANSWERED},
    after={"rows": 60, "accuracy": 0.4, **ANSWERED},
    gain=Gain(0.0, 0.1),
    gains={},
    correction=Correction(weight=((1.0,),), bias=(0.0,)),
    calibrated={},
)


@pytest.mark.parametrize(
    ("gain", "error", "accuracy", "wanted"),
    [
        (0.2, 0.1, 0.5, True),
        (0.2, 0.1, 0.49, False),
        (0.05, 0.1, 0.6, False),
        (-0.2, 0.1, 0.6, False),
        (0.001, 0.0, 0.6, False),
    ],
)
def test_an_adaptation_is_better_where_it_gains_more_than_chance_and_loses_no_answer(
    gain: float, error: float, accuracy: float, wanted: bool
) -> None:
    after = {"rows": 60, "accuracy": accuracy, **ANSWERED}
    assert replace(OUTCOME, gain=Gain(gain, error), after=after).is_better == wanted


def test_what_an_attribute_would_be_worse_from_is_said() -> None:
    gains = {Modalities.IMAGE: Gain(-0.2, 0.1), Modalities.TEXT: Gain(-0.05, 0.1)}
    outcome = replace(OUTCOME, gain=Gain(0.2, 0.1), gains=gains, after=OUTCOME.before)
    assert not outcome.is_better and replace(outcome, gains={}).is_better
    shown = to_table({"color": outcome}).blocks[0][1][0]
    assert shown == "left as it was: worse from the picture alone"
    assert summarise({"color": outcome})["color"]["worse_from"] == ["image"]


def test_a_second_adaptation_leaves_the_account_of_the_first(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    given = read_manifest(tiny_checkpoint)
    write_adapted(given, {"color": OUTCOME}, "once", "one shop", tmp_path / "once")
    once = read_manifest(tmp_path / "once")
    write_adapted(once, {"color": OUTCOME}, "twice", "another shop", tmp_path / "twice")
    card = (tmp_path / "twice" / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny") and card.index("one shop") < card.index("another shop")
    told = json.loads((tmp_path / "twice" / "metrics.json").read_text())["adaptation"]
    assert (told["shop"], told["from"]) == ("another shop", f"once-{once.digest}")
    assert told["earlier"]["shop"] == "one shop" and "earlier" not in told["earlier"]
