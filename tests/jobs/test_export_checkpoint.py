"""jobs/export_checkpoint.py: a checkpoint in, one in int8 out, or a refusal."""

import json

import pandas as pd
import pytest

from enrich.classifiers.manifest import BUNDLED, read_manifest


@pytest.fixture
def flags(tmp_path):
    """Three hundred products without pictures."""
    titles = [f"{color} shirt {n}" for n in range(100) for color in ("red", "blue", "green")]
    products = {"product_id": range(300), "title": titles, "description": "", "image_path": ""}
    pd.DataFrame(products).to_csv(tmp_path / "products.csv", index=False)
    return [
        *("--checkpoint", BUNDLED, "--catalog", tmp_path / "products.csv"),
        *("--output", tmp_path / "exported"),
    ]


def test_a_checkpoint_that_answers_as_before_is_written_and_is_not_exported_again(
    run, flags, tmp_path
):
    code, out, _ = run(*flags)
    assert code == 0
    assert read_manifest(tmp_path / "exported").config.int8
    told = json.loads(out.splitlines()[-1])
    assert told["name"] == "cma-clip-small-int8"
    assert told["attributes"]["color"]["products"] == 300

    again = ["--checkpoint", tmp_path / "exported", *flags[2:-1], tmp_path / "again"]
    code, _, err = run(*again)
    assert code == 2 and "found int8 towers" in err


def test_one_that_would_answer_otherwise_is_not(run, flags, tmp_path):
    code, _, err = run(*flags, "--sample", 20)
    assert code == 3 and "int8 may change answers" in err
    assert [path.name for path in tmp_path.iterdir()] == ["products.csv"]
