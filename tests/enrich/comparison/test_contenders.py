"""A checkpoint that cannot be compared stops the run before it starts."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from enrich.classifiers.manifest import read_manifest
from enrich.comparison.contenders import load_contenders
from enrich.comparison.cost import count_parameters
from enrich.errors import CheckpointError, ConfigError

CPU = torch.device("cpu")


def _copy(checkpoint: Path, folder: Path, **changes: object) -> Path:
    """Returns a copy of a checkpoint with another configuration."""
    copy = folder / "changed"
    shutil.copytree(checkpoint, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    return copy


def test_checkpoints_are_loaded_in_order_and_named_after_their_folders(
    two_checkpoints: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_checkpoints["other"])
    contenders = load_contenders([".", f"{two_checkpoints['tiny']}/"], CPU)
    assert [contender.name for contender in contenders] == ["other", "tiny"]


def test_one_broken_checkpoint_among_sound_ones_is_named(
    two_checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(two_checkpoints["tiny"], broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="broken"):
        load_contenders([str(two_checkpoints["tiny"]), str(broken)], CPU)


def test_two_checkpoints_of_one_name_are_refused(
    two_checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(two_checkpoints["tiny"], tmp_path / "tiny")
    with pytest.raises(ConfigError, match="called tiny; rename one"):
        load_contenders([str(two_checkpoints["tiny"]), str(tmp_path / "tiny")], CPU)


def test_all_checkpoints_are_asked_about_the_same_masked_texts(
    two_checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    attributes = read_manifest(two_checkpoints["other"]).config.attributes
    kinds = [f"kind{number}" for number in range(len(attributes["pattern"]))]
    other = _copy(two_checkpoints["other"], tmp_path, attributes=attributes | {"pattern": kinds})
    contenders = load_contenders([str(two_checkpoints["tiny"]), str(other)], CPU)
    for contender in contenders:
        assert contender.label_words.remove("a red striped kind1 shirt") == "a shirt"


def test_costs_of_a_checkpoint_in_eight_bits_are_counted_of_its_weights_as_stored(
    two_checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    exported = _copy(two_checkpoints["tiny"], tmp_path, int8=True)
    before, after = load_contenders([str(two_checkpoints["tiny"]), str(exported)], CPU)
    assert count_parameters(after.classifier) != count_parameters(before.classifier)
    assert count_parameters(after.as_stored()) == count_parameters(before.classifier)
    assert before.as_stored() is before.classifier


def test_a_checkpoint_says_to_which_shops_it_was_fitted(
    two_checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    fitted = shutil.copytree(two_checkpoints["tiny"], tmp_path / "fitted")
    earlier = {"shop": "one shop", "from": "tiny", "attributes": {}}
    adaptation = earlier | {"shop": "another", "earlier": earlier}
    (fitted / "metrics.json").write_text(json.dumps({"adaptation": adaptation}))
    both = load_contenders([str(two_checkpoints["tiny"]), str(fitted)], CPU)
    assert [contender.fitted_to for contender in both] == [[], ["another", "one shop"]]
