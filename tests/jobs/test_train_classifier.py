"""jobs/train_classifier.py: which classifier is trained, and what its checkpoint is called."""

import shutil
from pathlib import Path

import pytest
from colored_shop import write_colored_shop

from enrich.training.config import TrainingConfig


@pytest.fixture
def trained(job, monkeypatch):
    """What would have been trained."""
    configs: list[TrainingConfig] = []

    def train(config, catalogs, output, **_):
        configs.append(config)
        output.mkdir(parents=True)
        (output / "MODEL_CARD.md").write_text("# card")
        return {}

    monkeypatch.setattr(job, "train_checkpoint", train)
    return configs


@pytest.fixture
def flags(tmp_path):
    file = tmp_path / "training.yaml"
    file.write_text(
        "name: shop\nclassifier: cma_clip\n"
        "phases: [{loss: multitask, epochs: 1, learning_rate: 1.0e-3}]\n"
    )
    return ["--config", file, "--catalog", tmp_path, "--output", tmp_path / "made"]


@pytest.mark.parametrize("missing", ["--catalog", "--output"])
def test_training_needs_a_catalog_and_an_output(run, trained, flags, missing):
    at = flags.index(missing)
    code, _, err = run(*flags[:at], *flags[at + 2 :])
    assert code == 2 and missing in err
    assert not trained


@pytest.mark.parametrize(
    "given, name, classifier",
    [
        ((), "shop", "cma_clip"),
        (("--classifier", "clip_mlp"), "shop-clip_mlp", "clip_mlp"),
        (("--name", "other"), "other", "cma_clip"),
        (("--classifier", "clip_mlp", "--name", "other"), "other", "clip_mlp"),
    ],
)
def test_a_checkpoint_s_name_says_which_classifier_it_is(
    run, trained, flags, given, name, classifier
):
    code, out, _ = run(*flags, *given)
    assert code == 0 and "checkpoint:" in out
    assert [(config.name, config.classifier) for config in trained] == [(name, classifier)]


def test_a_setting_may_be_taken_back_and_takes_the_place_of_the_file_s_name(run, trained, flags):
    assert run(*flags, "--set", "half=1", "--set", "name=other")[0] == 0
    file = Path(str(flags[1]))
    file.write_text(file.read_text() + "half: 1\n")
    shutil.rmtree(Path(str(flags[-1])))
    assert run(*flags, "--set", "half=null", "--set", "classifier=mmbt")[0] == 0
    assert [(one.half, one.name, one.classifier) for one in trained] == [
        (1, "other", "cma_clip"),
        (None, "shop", "mmbt"),
    ]


def test_a_check_says_what_is_wrong_and_trains_nothing(run, trained, flags, tmp_path):
    write_colored_shop(tmp_path / "shop", 40)
    flags = ["--config", flags[1], "--catalog", tmp_path / "shop", "--set", "batch_size=8"]
    flags += ["--check", "--output"]
    code, out, _ = run(*flags, tmp_path / "made")
    assert code == 0 and "can be trained on" in out
    code, _, err = run(*flags, tmp_path / "made", "--set", "attributes={color: [rot, blau]}")
    assert code == 2 and "'color' lacks labels to train on" in err
    assert run(*flags, flags[1])[0] == 2, "a file stands where the checkpoint is to go"
    assert not trained and not list(tmp_path.glob("made*"))


@pytest.mark.parametrize("wrong", [("--classifier", "resnet"), ("--name", "../up")])
def test_an_unknown_classifier_and_an_impossible_name_are_refused(run, trained, flags, wrong):
    code, _, err = run(*flags, *wrong)
    assert code == 2 and wrong[1] in err
    assert not trained
