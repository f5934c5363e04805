"""What is said of the bundled checkpoint is what it is."""

import json
import re
from pathlib import Path

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.command_line import load_yaml
from enrich.training.config import TrainingConfig

PROJECT = Path(__file__).parents[2]
README, JOBS = PROJECT / "README.md", PROJECT / "jobs"


def test_the_shipped_training_file_is_that_of_the_bundled_checkpoint() -> None:
    shipped = load_yaml(JOBS / "conf" / "training_small.yaml", TrainingConfig)
    bundled = load_yaml(BUNDLED / "training.yaml", TrainingConfig)
    # Without a tower of one's own, training starts from the published one; `make train` has
    # second opinions too.
    assert shipped == bundled.model_copy(update={"image_tower": None, "opinions": ()})
    assert bundled.attributes == read_manifest(BUNDLED).config.attributes


def test_the_readme_says_of_the_bundled_checkpoint_what_was_measured() -> None:
    metrics = json.loads((BUNDLED / "metrics.json").read_text())
    said = re.findall(r"^\| the [^|]*\|( 0\..*)\|$", README.read_text(), re.MULTILINE)
    measured = [
        metrics[shop][condition]
        for shop, condition in (
            ("test_groups_myntra", "as is"),
            ("test_groups_myntra", "text removed"),
            ("test_groups_myntra", "label words masked"),
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
