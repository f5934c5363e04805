"""A run ends in the same weights whatever happens to it: killed, repeated, or shared out."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel

from enrich.calibration import Calibration
from enrich.classifiers.interface import Classifier
from enrich.command_line import load_yaml
from enrich.errors import ConfigError
from enrich.training.config import TrainingConfig
from enrich.training.evaluation import calibrate
from enrich.training.labelled import TRAIN
from enrich.training.loop import Trainer
from enrich.training.opinions import half_of, read_opinions
from enrich.training.preparation import prepare
from enrich.training.run import check_training, train_checkpoint
from enrich.training.state import load_state, save_state
from schemas.labels import ATTRIBUTE_LABELS

JOB = Path(__file__).parents[3] / "jobs" / "train_classifier.py"
# Kills itself as a full machine would, in the middle of the second phase's only epoch.
KILLED = """
import os, runpy, signal, sys
from enrich.training.optimiser import Stepper

whole_step, steps = Stepper.step, []

def step(*given):
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    steps.append(1)
    return whole_step(*given)

Stepper.step = step
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def settings(clip_folder: Path) -> dict[str, Any]:
    """A configuration with every kind of phase and all that is random in training."""
    return {
        "name": "clip-tiny",
        "towers": str(clip_folder),
        "text_length": 16,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "accumulate": 2,
        "ema": 0.9,
        "phases": [
            {"loss": "multitask", "epochs": 1, "learning_rate": 1e-3},
            {
                "loss": "multitask",
                "epochs": 1,
                "learning_rate": 1e-3,
                "tower_learning_rate": 1e-4,
            },
        ],
    }


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, catalog: Path, settings: dict[str, Any]
) -> Path:
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    train_checkpoint(TrainingConfig.model_validate(settings), [catalog], output)
    return output


def _run(*command: str | Path, settings: dict[str, Any], catalog: Path, output: Path) -> int:
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    arguments = [*command, "--config", config, "--catalog", catalog, "--output", output]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    print(finished.stdout, finished.stderr)
    return finished.returncode


def _state(output: Path) -> dict[str, Any]:
    file = output.with_name(f"{output.name}.training") / "training_state.pt"
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def _weights(output: Path) -> bytes:
    return (output / "model.safetensors").read_bytes()


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights(
    tmp_path: Path,
    catalog: Path,
    settings: dict[str, Any],
    undisturbed: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings | {"save_every_s": 0}
    output = tmp_path / "killed"
    killed = _run("-c", KILLED, JOB, settings=settings, catalog=catalog, output=output)
    assert killed == -signal.SIGKILL and not output.exists()
    progressed = _state(output)["progressed"]
    assert (progressed["phase"], progressed["epoch"], progressed["step"]) == (1, 0, 2)

    train_checkpoint(TrainingConfig.model_validate(settings), [catalog], output)
    assert "resuming in phase 2 after 0 epochs and 2 steps" in capsys.readouterr().err
    assert _weights(output) == _weights(undisturbed)
    for kept in ("classifier", "average", "best"):
        for name, tensor in _state(undisturbed)[kept].items():
            assert tensor.equal(_state(output)[kept][name]), (kept, name)


def test_the_checkpoints_own_training_file_gives_the_same_weights_again(
    tmp_path: Path, catalog: Path, undisturbed: Path
) -> None:
    config = load_yaml(undisturbed / "training.yaml", TrainingConfig)
    train_checkpoint(config, [catalog], tmp_path / "again")
    assert _weights(tmp_path / "again") == _weights(undisturbed)
    written = yaml.safe_load((undisturbed / "training.yaml").read_text())
    assert set(written) == set(TrainingConfig.model_fields) - {"cache"}


def test_a_run_goes_on_until_pictures_or_the_towers_weights_have_changed(
    tmp_path: Path,
    catalog: Path,
    clip_folder: Path,
    settings: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop, clip = tmp_path / "shop", tmp_path / "clip"
    shutil.copytree(catalog, shop)
    shutil.copytree(clip_folder, clip)
    config = settings | {"towers": str(clip), "phases": settings["phases"][:1]}

    def train() -> str:
        train_checkpoint(TrainingConfig.model_validate(config), [shop], tmp_path / "made")
        said = capsys.readouterr().err
        return "goes on" if "resuming" in said else "anew" if "starting anew" in said else "first"

    assert [train(), train()] == ["first", "goes on"]
    one, other = sorted(shop.rglob("*.jpg"))[:2]
    shutil.copy(other, one)
    assert [train(), train()] == ["anew", "goes on"]
    torch.manual_seed(1)
    CLIPModel(CLIPConfig.from_pretrained(clip)).save_pretrained(clip)
    assert [train(), train()] == ["anew", "goes on"]


def test_what_is_calibrated_and_measured_are_the_weights_that_are_stored(
    tmp_path: Path, catalog: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def calibrate_and_look(classifier: Classifier, *given: Any) -> Calibration:
        measured.append({name: t.clone() for name, t in classifier.state_dict().items()})
        return calibrate(classifier, *given)

    monkeypatch.setattr("enrich.training.run.calibrate", calibrate_and_look)
    train_checkpoint(TrainingConfig.model_validate(settings), [catalog], tmp_path / "made")

    for name, stored in load_file(tmp_path / "made" / "model.safetensors").items():
        assert measured[0][name].equal(stored.to(measured[0][name].dtype)), name


def test_two_processes_of_torchrun_reach_what_one_reaches_in_two_parts(
    tmp_path: Path, catalog: Path, settings: dict[str, Any], undisturbed: Path
) -> None:
    output = tmp_path / "shared"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    settings = settings | {"accumulate": 1}
    assert not _run(*torchrun, JOB, settings=settings, catalog=catalog, output=output)
    wanted, found = _state(undisturbed), _state(output)
    for name, tensor in wanted["classifier"].items():
        torch.testing.assert_close(found["classifier"][name], tensor, rtol=1e-4, atol=1e-6)
    assert found["progressed"] == pytest.approx(wanted["progressed"])
    assert (output / "MODEL_CARD.md").exists()


def test_each_half_says_what_the_other_looks_like_and_a_training_listens(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    quick = settings | {"phases": settings["phases"][:1], "accumulate": 1, "batch_size": 4}

    def train(name: str, **more: object) -> bytes:
        config = TrainingConfig.model_validate(quick | more)
        train_checkpoint(config, [catalog], tmp_path / name)
        return _weights(tmp_path / name)

    files = []
    run = prepare(TrainingConfig.model_validate(quick), [catalog], [], tmp_path / "read")
    batches, products = run.batches, run.batches.products
    is_trained_on, half = products.split == TRAIN, half_of(products.groups)
    colors = {"color": ATTRIBUTE_LABELS["color"]}
    for number in (0, 1):
        train(f"half-{number}", half=number)
        files.append(tmp_path / f"half-{number}.opinions.npz")
        said = read_opinions(files[-1:], batches, colors)["color"].sum(1)
        assert ((said > 0) == (is_trained_on & (half != number))).all()

    alone = {"image_alone": 1.0}
    assert train("heard", **alone, opinions=files) != train("unheard", **alone)
    recipes = yaml.safe_load_all((tmp_path / "heard" / "opinions_training.yaml").read_text())
    assert [recipe["half"] for recipe in recipes] == [0, 1]
    assert not (tmp_path / "unheard" / "opinions_training.yaml").exists()

    with pytest.raises(ConfigError, match="no opinions can be read"):
        read_opinions([tmp_path / "gone.npz"], batches, colors)


def _refused(catalogs: list[Path], config: TrainingConfig, output: Path, **given: Any) -> str:
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ConfigError) as error,
    ):
        patch.setattr(Trainer, "train", lambda trainer: pytest.fail("it trains"))
        train_checkpoint(config, catalogs, output, **given)
    return str(error.value)


def test_attributes_that_no_product_has_a_label_of_are_refused_before_anything_is_decoded(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    attributes = {
        "color": ["rot", "blau"],
        "pattern": ATTRIBUTE_LABELS["pattern"],
        "size": ["small", "large"],
    }
    config = TrainingConfig.model_validate(settings | {"attributes": attributes})
    said = _refused([catalog], config, tmp_path / "made")
    assert "'color' has no label to train on and none to validate with" in said
    assert "the catalogs hold 'multi', 'green', 'grey', ...; wanted: 'rot', 'blau'" in said
    assert "the catalogs hold none; wanted: 'small', 'large'" in said and "'pattern'" not in said
    assert not (tmp_path / "made.training" / "cache").exists()


@pytest.mark.parametrize("blocked", ["made", "made.training"])
def test_a_file_where_a_folder_is_to_be_written_is_refused_before_training(
    tmp_path: Path, catalog: Path, settings: dict[str, Any], blocked: str
) -> None:
    (tmp_path / blocked).write_text("mine")
    said = _refused([catalog], TrainingConfig.model_validate(settings), tmp_path / "made")
    assert f"{tmp_path / blocked} is a file" in said
    assert [file.name for file in tmp_path.iterdir()] == [blocked]


@pytest.mark.parametrize(
    ("splits", "lacking"),
    [
        (("train", "valid"), "no test product"),
        (("train", "train"), "no test product"),
        (("valid", "test"), "no train product"),
        (("test", "test"), "no train and no validation product"),
    ],
)
def test_a_split_column_that_names_no_product_of_a_split_is_refused_with_what_to_do(
    tmp_path: Path, settings: dict[str, Any], splits: tuple[str, str], lacking: str
) -> None:
    lines = "".join(f"{c} shirt {n},{splits[n % 2]},{c}\n" for n in range(60) for c in ("a", "b"))
    (tmp_path / "a.csv").write_text(f"title,part,color\n{lines}")
    (tmp_path / "a.yaml").write_text(
        "table: a.csv\ndescription: null\nimage_path: null\nsplit: part\nlabels: {color: color}"
    )
    config = TrainingConfig.model_validate(settings | {"attributes": {"color": "from_data"}})
    said = _refused([Path(f"table:{tmp_path}/a.yaml")], config, tmp_path / "made")
    assert lacking in said and "name no split" in said
    assert "give more products" not in said


def test_groups_in_two_splits_of_a_catalog_are_told_and_stand_in_the_card(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    splits = ("train", "valid", "test")
    lines = "".join(
        f"{c} shirt {n},{splits[n % 3]},{c},g{n // 2}\n" for n in range(60) for c in ("a", "b")
    )
    (tmp_path / "a.csv").write_text(f"title,part,color,alike\n{lines}")
    (tmp_path / "a.yaml").write_text(
        "table: a.csv\ndescription: null\nimage_path: null\nsplit: part\ngroup_id: alike\n"
        "labels: {color: color}"
    )
    config = TrainingConfig.model_validate(settings | {"attributes": {"color": "from_data"}})
    train_checkpoint(config, [Path(f"table:{tmp_path}/a.yaml")], tmp_path / "made")
    told = "30 groups of near-identical products"
    assert told in capsys.readouterr().err
    assert told in (tmp_path / "made" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, found -1"),
        ({"attributes": {"color": ["red", "red "]}}, "none of them blank or there twice"),
        ({"attributes": {"color": ["red"]}}, "two or more labels"),
        ({"attributes": {"color": ["red", " "]}}, "none of them blank"),
        ({"attributes": {"color": "from_date"}}, "wanted a list of labels, or from_data"),
    ],
)
def test_settings_that_make_no_training_are_a_message(
    tmp_path: Path, settings: dict[str, Any], wrong: dict[str, Any], message: str
) -> None:
    file = tmp_path / "training.yaml"
    file.write_text("{}")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_yaml(file, TrainingConfig, settings | wrong)


def test_what_is_wrong_with_several_settings_together_does_not_repeat_them_all(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    file = tmp_path / "training.yaml"
    file.write_text("{}")
    with pytest.raises(ConfigError) as refused:
        load_yaml(file, TrainingConfig, settings | {"opinions": ["a.npz"]})
    assert str(refused.value).endswith("give image_alone a weight above 0")


def test_a_catalog_that_fills_no_batch_is_found_out_by_a_check(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    config = TrainingConfig.model_validate(settings | {"batch_size": 64})
    with pytest.raises(ConfigError, match="do not fill one batch of 64"):
        check_training(config, [catalog], tmp_path / "made", [])
    # Enough of all products, and not of one half of them.
    config = TrainingConfig.model_validate(settings | {"batch_size": 20, "accumulate": 1})
    check_training(config, [catalog], tmp_path / "made", [])
    with pytest.raises(ConfigError, match="do not fill one batch of 20"):
        check_training(config.model_copy(update={"half": 0}), [catalog], tmp_path / "made", [])


def test_two_catalogs_of_one_name_are_refused_because_one_s_figures_would_be_lost(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    other = tmp_path / "elsewhere" / catalog.name
    other.parent.mkdir()
    other.symlink_to(catalog)
    config = TrainingConfig.model_validate(settings)
    said = _refused([catalog, other], config, tmp_path / "made")
    assert "more than one catalog is called catalog" in said
    said = _refused([catalog], config, tmp_path / "made", strange_shops=[other, catalog])
    assert "more than one strange shop is called catalog" in said


def test_a_strange_shop_without_any_label_is_refused_before_training(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(catalog, shop)
    labels = pd.read_parquet(shop / "labels.parquet")
    labels = labels.drop(columns=[*ATTRIBUTE_LABELS]).assign(size="small")
    labels.to_parquet(shop / "labels.parquet")
    config = TrainingConfig.model_validate(settings)
    said = _refused([catalog], config, tmp_path / "made", strange_shops=[shop])
    assert f"no label in {shop} is one of" in said
    with pytest.raises(ConfigError, match="no label in"):
        check_training(config, [catalog], tmp_path / "made", [shop])


@pytest.mark.parametrize(("output", "said"), [("/", "has no name"), ("/proc/no", "nothing can be")])
def test_an_output_that_cannot_be_written_is_refused_before_training(
    catalog: Path, settings: dict[str, Any], output: str, said: str
) -> None:
    config = TrainingConfig.model_validate(settings)
    assert said in _refused([catalog], config, Path(output))


def test_a_device_without_memory_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path / "training_state.pt", {})
    full = Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(torch.OutOfMemoryError):
        load_state(tmp_path / "training_state.pt", torch.device("cpu"))


def test_a_damaged_state_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "training_state.pt"
    save_state(file, {"weights": torch.zeros(1_000)})
    whole = file.read_bytes()
    for content in (whole[:1_000], b"", b"no state"):
        file.write_bytes(content)
        assert load_state(file, torch.device("cpu")) is None
        assert "is damaged, and training starts anew" in capsys.readouterr().err.replace("\n", " ")


def test_a_strange_shop_that_is_not_there_is_refused_before_training(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    config = TrainingConfig.model_validate(settings)
    gone = tmp_path / "gone"
    assert "gone" in _refused([catalog], config, tmp_path / "made", strange_shops=[gone])


def test_a_batch_in_too_many_parts_is_refused(
    tmp_path: Path, catalog: Path, settings: dict[str, Any]
) -> None:
    config = TrainingConfig.model_validate(settings | {"accumulate": 5})
    with pytest.raises(ConfigError, match="raise batch_size"):
        train_checkpoint(config, [catalog], tmp_path / "made")
