"""What make would run."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_demo_runs_on_fewer_cores_where_there_is_little_memory():
    made = subprocess.run(
        ["make", "-n", "demo", "SPARK_OPTIONS=--master 'local[2]'"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "spark-submit --master 'local[2]' jobs/enrich_catalog.py" in made.stdout


def _comparison(*variables):
    """Return the commands that train towers, and the one that compares."""
    made = subprocess.run(
        ["make", "-n", "-B", "compare", "CATALOGS=shop", "UNSEEN_SOURCES=other", *variables],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    commands = made.stdout.replace("\\\n", "").splitlines()
    (comparison,) = (line for line in commands if "bench.comparison" in line)
    return [line for line in commands if "train_classifier.py" in line], comparison


def test_towers_of_a_comparison_know_neither_its_other_half_nor_what_is_left_out():
    towers, comparison = _comparison("LEAVE_OUT={kind: [shoes]}")
    assert len(towers) == 2
    for command in towers:
        assert "--set half=0" in command and "leave_out={kind: [shoes]}" in command
        assert "--unseen-source" not in command
        assert f"_tower={command.split('--output ')[1].strip()}" in comparison
    for flag in (
        "--catalog shop",
        "--unseen-source other",
        "leave_out={kind: [shoes]}",
        "/comparison.md",
    ):
        assert flag in comparison


@pytest.mark.parametrize("recipe", ["clip", "food101"])
def test_a_recipe_with_a_clip_is_compared_on_its_own_towers(recipe):
    towers, comparison = _comparison(f"CONFIG=jobs/conf/training_{recipe}.yaml")
    assert not towers and "_tower=" not in comparison
    assert f"--output trained/{recipe}-" in comparison and "/comparison.md" in comparison


def test_towers_of_other_catalogs_or_other_goods_are_not_taken():
    changes = ((), ("CATALOGS=other",), ("LEAVE_OUT={kind: [shoes]}",))
    folders = {_comparison(*one)[1].split("--folder ")[1].split()[0] for one in changes}
    assert len(folders) == 3


def test_labels_that_the_last_step_does_not_know_end_make_train_before_the_first():
    made = subprocess.run(
        ["make", "-n", "-B", "train", "CATALOGS=shop abo", "UNSEEN_SOURCES=other"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    commands = made.stdout.replace("\\\n", "").splitlines()
    check, *trainings = (line for line in commands if "train_classifier.py" in line)
    assert "--check" in check and len(trainings) == 4
    assert not any("--check" in line for line in trainings)
    for flag in ("--catalog shop", "--catalog abo", "--unseen-source other", "cma-clip-small"):
        assert flag in check and flag in trainings[-1]


def test_all_tests_are_run_by_some_target():
    made = subprocess.run(
        ["make", "-n", "test-all", "test-bench", "test-airflow", "test-faults"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = {file.relative_to(ROOT) for file in ROOT.glob("tests/**/test_*.py")}
    asked = {Path(word) for word in made.stdout.split() if word.startswith("tests/")}
    assert files
    assert not [file for file in files if not asked & {file, *file.parents}]
