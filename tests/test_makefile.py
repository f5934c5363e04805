"""What make would run."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_demo_runs_on_fewer_cores_where_there_is_little_memory() -> None:
    made = subprocess.run(
        ["make", "-n", "demo", "SPARK_OPTIONS=--master 'local[2]'"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "spark-submit --master 'local[2]' jobs/enrich_catalog.py" in made.stdout


def _comparison(*variables: str) -> tuple[list[str], str]:
    """Returns the commands that train something to compare, and the one that compares."""
    made = subprocess.run(
        ["make", "-n", "-B", "compare", "CATALOGS=shop", *variables],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    commands = made.stdout.replace("\\\n", "").splitlines()
    (evaluation,) = (line for line in commands if "evaluate_classifiers.py" in line)
    tower = "jobs/conf/training_image_tower.yaml"
    trainings = [line for line in commands if "train_classifier.py" in line and tower not in line]
    return trainings, evaluation


@pytest.mark.parametrize("recipe", ["clip", "food101"])
def test_a_recipe_with_a_clip_trains_all_classifiers_and_the_ablations_on_it(recipe: str) -> None:
    config = f"jobs/conf/training_{recipe}.yaml"
    trainings, evaluation = _comparison(f"CONFIG={config}")
    assert len(trainings) == 15
    assert all(f"--config {config}" in line for line in trainings)
    assert not any("image_tower" in line for line in trainings)
    outputs = {line.split("--output ")[1].split()[0] for line in trainings}
    assert {part.split()[0] for part in evaluation.split("--checkpoint ")[1:]} == outputs
    assert f"--output trained/{recipe}/report" in evaluation


def test_small_classifiers_are_compared_on_one_image_tower() -> None:
    trainings, _ = _comparison()
    assert len(trainings) == 15
    assert all("--set image_tower=trained/image-tower " in line for line in trainings)


@pytest.mark.parametrize(
    ("towers", "shared"),
    [
        ("", True),
        ("towers: 'small'  # the default", True),
        ("towers: small-models/clip", False),
        ("towers:\n  vision: google/vit\n  text: bert", False),
    ],
)
def test_a_recipe_is_compared_on_the_shared_tower_unless_it_names_other_towers(
    tmp_path: Path, towers: str, shared: bool
) -> None:
    (tmp_path / "training_own.yaml").write_text(f"name: own\n{towers}\n# towers: some/clip\n")
    trainings, _ = _comparison(f"CONFIG={tmp_path}/training_own.yaml")
    assert {"--set image_tower=trained/image-tower " in line for line in trainings} == {shared}


def test_for_a_recipe_that_is_not_there_no_tower_is_trained(tmp_path: Path) -> None:
    trainings, _ = _comparison(f"CONFIG={tmp_path}/gone.yaml")
    assert not any("image_tower" in line for line in trainings)


def test_labels_that_the_last_step_does_not_know_end_make_train_before_the_first() -> None:
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


def test_several_graphics_cards_train_together() -> None:
    trainings, evaluation = _comparison("GPUS=4")
    # Without --standalone two comparisons on one machine would meet on one port.
    command = "torchrun --standalone --nproc-per-node 4 jobs/train_classifier.py"
    assert all(command in training for training in trainings)
    assert "torchrun" not in evaluation
