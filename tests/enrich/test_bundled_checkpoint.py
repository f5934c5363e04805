"""What is said of the bundled checkpoint is what it is."""

import json
import re
from pathlib import Path

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.settings_files import load_yaml
from enrich.training.config import TrainingConfig

PROJECT = Path(__file__).parents[2]
README, JOBS = PROJECT / "README.md", PROJECT / "jobs"


def test_the_shipped_training_file_is_that_of_the_bundled_checkpoint():
    shipped = load_yaml(JOBS / "conf" / "training_small.yaml", TrainingConfig)
    bundled = load_yaml(BUNDLED / "training.yaml", TrainingConfig)
    # Without a tower of one's own, training starts from the published one; `make train` has towers
    # of two halves too.
    assert shipped == bundled.model_copy(update={"image_tower": None, "half_towers": ()})
    assert bundled.attributes == read_manifest(BUNDLED).config.attributes


# On myntra's test groups: what a checkpoint must reach to be bundled. Where today's falls short
# (DECISIONS.md) it is today's figure, and what is wanted stands beside it.
AT_LEAST = {
    ("as is", "color", "accuracy"): 0.92,
    ("as is", "pattern", "macro_f1"): 0.60,  # 0.72
    ("as is", "style", "recall_at_90_precision"): 0.90,
    ("text removed", "color", "accuracy"): 0.725,  # 0.75
    ("text removed", "pattern", "macro_f1"): 0.54,
    ("label words masked", "color", "accuracy"): 0.74,
    ("text of another product", "color", "accuracy"): 0.65,
}
WITH_BOTH = ("as is", "label words masked", "text of another product")
MOST_ECE = 0.040  # 0.03
LEAST_PRECISION = 0.88


def test_the_figures_of_the_bundled_checkpoint_are_of_its_weights():
    metrics = json.loads((BUNDLED / "metrics.json").read_text())
    assert metrics["content"] == read_manifest(BUNDLED).digests.model


def test_the_bundled_checkpoint_is_as_good_as_it_must_be():
    figures = json.loads((BUNDLED / "metrics.json").read_text())["test_groups_myntra"]

    for (condition, attribute, figure), floor in AT_LEAST.items():
        assert figures[condition][attribute][figure] >= floor, (condition, attribute, figure)
    for condition in WITH_BOTH:
        for attribute, found in figures[condition].items():
            assert round(found["ece"], 3) <= MOST_ECE, (condition, attribute)
            # A tenth of the texts may be another product's, not all of them.
            is_world_of_wrong_texts = condition == "text of another product"
            precision = found["precision_at_90_threshold"]
            assert is_world_of_wrong_texts or precision >= LEAST_PRECISION, (condition, attribute)
    masked, removed = (
        figures[one]["color"]["accuracy"] for one in ("label words masked", "text removed")
    )
    assert masked >= removed
    trust = [
        figures[one]["color"]["mean_image_weight"] for one in ("as is", "text of another product")
    ]
    assert trust == sorted(trust)


def test_the_readme_says_of_the_bundled_checkpoint_what_was_measured():
    metrics = json.loads((BUNDLED / "metrics.json").read_text())
    said = re.findall(r"^\| the [^|]*\|( 0\..*)\|$", README.read_text(), re.MULTILINE)
    measured = [
        metrics[shop][condition]
        for shop, condition in (
            ("test_groups_myntra", "as is"),
            ("test_groups_myntra", "text removed"),
            ("test_groups_abo", "as is"),
        )
    ]
    assert len(said) == len(measured)
    for row, by_attribute in zip(said, measured, strict=True):
        cells = [cell.strip() for cell in row.split("|")]
        for cell, attribute in zip(cells, ("color", "pattern", "style"), strict=True):
            figures = by_attribute.get(attribute, {"rows": 0})
            wanted = f"{figures['accuracy']:.2f}" if figures["rows"] else "\N{EN DASH}"
            assert cell.split(" (")[0] == wanted
            if "(" in cell:
                assert cell.endswith(f"({figures['rows']:,})")
