"""An adapted checkpoint says all that was done to it."""

import json
from pathlib import Path

from enrich.adaptation.adapt import Outcome
from enrich.adaptation.checkpoint import write_adapted
from enrich.calibration import Correction
from enrich.classifiers.manifest import read_manifest

OUTCOME = Outcome(
    before={"rows": 60, "accuracy": 0.5},
    after={"rows": 60, "accuracy": 0.4},
    gain=0.0,
    gain_error=0.1,
    correction=Correction(weight=((1.0,),), bias=(0.0,)),
    calibrated={},
)


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
