"""A store that loses the answer to a commit: the commit is known again, and made once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

pytestmark = [pytest.mark.spark, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
JARS = f"{Path(pyspark.__file__).parent}/jars/*"


def test_commits_whose_answer_was_lost_are_made_once(tmp_path: Path) -> None:
    compiler = shutil.which("javac")
    if compiler is None:
        pytest.skip("this machine has no Java compiler: the claim is NOT tested")
    store = Path(__file__).with_name("LosesAnswers.java")
    subprocess.run([compiler, "-cp", JARS, "-d", tmp_path / "classes", store], check=True)
    script = Path(__file__).with_name("refresh_on_lost_answers.py")
    support = os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, script, tmp_path, tmp_path / "classes"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": support, "PYSPARK_PYTHON": sys.executable},
        timeout=1_800,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    # Events, chunks, candidates and MERGE of two runs.
    assert ended.stderr.count("lost answer of") >= 12
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["state"] == "published"
    assert told["rows"] == {"encodings": 12, "candidates": 12, "product_attributes": 6}
    assert told["commits"] == 3  # its creation and two MERGEs
