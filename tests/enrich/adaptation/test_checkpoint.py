"""An adapted checkpoint is a whole one, and says all that was done to it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from adaptations import make_effect
from safetensors.torch import load_file
from thresholds import alike

from enrich.adaptation import checkpoint
from enrich.adaptation.checkpoint import (
    Adaptation,
    fit_checkpoint,
    format_report,
    refuse_fitted,
    summarise,
    to_table,
    with_effects,
    write_adapted,
)
from enrich.adaptation.shop_labels import read_shop_labels
from enrich.adaptation.trial import Gain
from enrich.adaptation.widening import FEWEST_OF_NEW_ATTRIBUTE, write_widened
from enrich.calibration import CalibratedModalities, Calibration, ScoreCorrection
from enrich.classifiers.checkpoint import add_to_weights, load_classifier
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.files.products import Catalog, open_source
from enrich.records import Modalities, Product

ANSWERED = {"precision_at_90_threshold": 0.95, "answered_at_90_threshold": 0.5}
ANSWERS = CalibratedModalities(temperature=1, thresholds=alike(0.8), rows=60)
NEVER = CalibratedModalities(temperature=1, thresholds=alike(None), rows=60)
FIGURES = {"rows": 60, "accuracy": 0.5, **ANSWERED}
BETTER = make_effect(FIGURES, Gain(0.2, 0.1, 100), dict.fromkeys(Modalities, ANSWERS))
WORSE = Gain(-0.2, 0.1, 100)
FEWER_ANSWERS = FIGURES | {"answered_at_90_threshold": 0.1}
EFFECT = replace(BETTER, gain=Gain(0.0, 0.1, 100), after=FIGURES | {"accuracy": 0.4})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gain": Gain(0.0, 0.1, 100)}, "not surely better"),
        # Answers that would be lost are the reason only where there is a gain.
        ({"gain": Gain(0.0, 0.1, 100), "after": FEWER_ANSWERS}, "not surely better"),
        ({"after": FEWER_ANSWERS}, "answers too few"),
        ({"after": FIGURES | {"accuracy": 0.49}}, "fewer answers right"),
        (
            {"gains": {Modalities.IMAGE: WORSE, Modalities.TEXT: Gain(-0.05, 0.1, 100)}},
            "worse from the picture alone",
        ),
    ],
)
def test_an_attribute_that_is_left_as_it_was_is_so_with_a_reason(changed, said):
    effect = replace(BETTER, **changed)
    assert BETTER.is_better and not effect.is_better
    assert effect.drawback == said
    assert to_table({"color": effect}).blocks[0][1][0] == f"left as it was: {said}"
    worse_from = ["image"] if "gains" in changed else []
    assert (summarise({"color": effect})["color"].get("worse_from") or []) == worse_from


def test_every_attribute_that_stays_as_it_was_is_left_with_a_reason():
    effects = {"color": BETTER, "pattern": replace(BETTER, gains={Modalities.IMAGE: WORSE})}
    left = Adaptation(effects, {"style": "9 labels"}, {"fit": "all its labels"}, {}).left
    assert left == {
        "style": "9 labels",
        "fit": "all its labels",
        "pattern": "worse from the picture alone",
    }


def test_whose_word_counts_for_more_is_said():
    told = format_report(
        {"color": replace(BETTER, bias_shift=-5.0), "style": replace(EFFECT, bias_shift=1.0)}
    )
    assert "For color, texts of this shop count more than before" in told
    assert "For style" not in told, "it is left as it was"
    assert summarise({"color": replace(BETTER, bias_shift=-5.0)})["color"]["bias_shift"] == -5.0


def test_temperatures_alone_leave_the_correction_of_an_earlier_adaptation():
    earlier = ScoreCorrection(weight=((1.0,),), bias=(0.0,))
    given = Calibration(attributes={"color": BETTER.calibrated}, corrections={"color": earlier})
    kept = replace(BETTER, correction=earlier)
    assert with_effects(given, {"color": kept}).corrections == {"color": earlier}
    none = given.model_copy(update={"corrections": {}})
    assert with_effects(none, {"color": BETTER}).corrections == {}


def _adapt_twice(checkpoint, first, second, folder):
    """Write the folders `once` and `twice`, fitted to one shop and then to another."""
    write_adapted(read_manifest(checkpoint), first, "once", "one shop", folder / "once")
    once = read_manifest(folder / "once")
    write_adapted(once, second, "twice", "another shop", folder / "twice")
    return once, read_manifest(folder / "twice")


def test_a_second_adaptation_leaves_the_account_of_the_first(tiny_checkpoint, tmp_path):
    once, _ = _adapt_twice(tiny_checkpoint, {"color": EFFECT}, {"color": EFFECT}, tmp_path)
    card = (tmp_path / "twice" / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny") and card.index("one shop") < card.index("another shop")
    told = json.loads((tmp_path / "twice" / "metrics.json").read_text())["adaptation"]
    assert (told["shop"], told["from"]) == ("another shop", f"once-{once.digests.model}")
    assert told["earlier"]["shop"] == "one shop" and "earlier" not in told["earlier"]


def test_a_guessed_attribute_that_no_fit_helps_is_left_as_it_was(
    tiny_checkpoint, shop, tmp_path, monkeypatch
):
    manifest = read_manifest(tiny_checkpoint)
    sets = manifest.config.answers | {"fabric": ("wool", "silk")}
    write_widened(manifest, sets, "named", tmp_path / "named")
    named = read_manifest(tmp_path / "named")
    kinds = ["wool", "silk", "felt"] * (FEWEST_OF_NEW_ATTRIBUTE + 1)
    products = {str(at): Product(str(at), kind) for at, kind in enumerate(kinds)}
    catalog = Catalog(shop / "products.parquet", products, {})
    table = pd.DataFrame({"product_id": [*products], "color": "red", "fabric": kinds})
    table.to_csv(tmp_path / "labels.csv", index=False)
    labels = read_shop_labels(tmp_path / "labels.csv", catalog, sets, guessed=named.guessed)
    assert labels.labels["fabric"] == ("wool", "silk", "felt")
    effects = {"color": BETTER, "fabric": EFFECT}
    monkeypatch.setattr(f"{checkpoint.__name__}.adapt", lambda *_: Adaptation(effects, {}, {}))
    source = open_source(JobConfig(catalog=str(shop / "products.parquet")))

    fit_checkpoint(named, labels, source, "fitted", tmp_path / "fitted")

    fitted = read_manifest(tmp_path / "fitted")
    assert fitted.config.answers == sets
    assert fitted.calibration.corrections["fabric"] == named.calibration.corrections["fabric"]
    assert fitted.guessed == {"fabric"}


def test_labels_of_any_earlier_adaptation_are_refused(tiny_checkpoint, tmp_path):
    _, twice = _adapt_twice(tiny_checkpoint, {"color": BETTER}, {"style": BETTER}, tmp_path)
    for attribute in ("color", "style"):
        with pytest.raises(ConfigError, match=f"fitted to labels of {attribute} before"):
            refuse_fitted(twice, [attribute])
    refuse_fitted(twice, ["pattern"])


def test_a_checkpoint_of_read_only_files_beside_folders_is_copied(tmp_path):
    original = Path(shutil.copytree(BUNDLED, tmp_path / "original"))
    (original / ".cache").mkdir()
    for file in filter(Path.is_file, original.iterdir()):
        file.chmod(0o444)

    write_adapted(read_manifest(original), {}, "mine", "a shop", tmp_path / "adapted")

    assert read_manifest(tmp_path / "adapted").config.name == "mine"
    files = list((tmp_path / "adapted").iterdir())
    assert all(file.is_file() and file.stat().st_mode & 0o200 for file in files)


def test_more_trust_is_added_to_what_there_was(tiny_checkpoint, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_checkpoint, folder)
    trust = CmaClip.name_of_bias("color")
    for wanted in (1.5, 3.0):
        add_to_weights(folder, {trust: 1.5})
        weights = load_file(folder / "model.safetensors")
        assert weights[trust] == wanted and weights[trust].dtype == torch.half
    classifier, _ = load_classifier(read_manifest(folder), torch.device("cpu"))
    assert classifier.state_dict()[trust] == 3.0
