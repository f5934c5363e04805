"""A store that loses the answer to a commit: the commit is known again, and made once."""

import shutil
import subprocess
from pathlib import Path

import pyspark
import pytest
from own_process import run_script

pytestmark = [pytest.mark.spark, pytest.mark.long]

JARS = f"{Path(pyspark.__file__).parent}/jars/*"


def test_commits_whose_answer_was_lost_are_made_once(tmp_path):
    compiler = shutil.which("javac")
    if compiler is None:
        pytest.skip("this machine has no Java compiler: the claim is NOT tested")
    store = Path(__file__).with_name("LosesAnswers.java")
    subprocess.run([compiler, "-cp", JARS, "-d", tmp_path / "classes", store], check=True)
    script = Path(__file__).with_name("refresh_on_lost_answers.py")
    told, errors = run_script(script, tmp_path, tmp_path / "classes")
    # Events, chunks, candidates and MERGE of two runs.
    assert errors.count("lost answer of") >= 12
    assert told["state"] == "published"
    assert told["rows"] == {"encodings": 12, "candidates": 12, "product_attributes": 6}
    assert told["commits"] == 3  # its creation and two MERGEs
