"""Published weights that cannot be opened are refused by what they are, and with what to do."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from enrich.errors import ConfigError
from enrich.training.published.pretrained import open_hugging_face_clip


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        open_hugging_face_clip(str(tmp_path / "gone"))


def _pickle(folder: Path) -> None:
    """Leaves the weights as older checkpoints have them."""
    weights = CLIPModel.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def test_a_pickle_is_refused_with_the_line_that_converts_it(copied_clip: Path) -> None:
    wanted = CLIPModel.from_pretrained(copied_clip).vision_model.state_dict()
    _pickle(copied_clip)
    with pytest.raises(ConfigError, match="no weights in safetensors") as refused:
        open_hugging_face_clip(str(copied_clip))
    assert "hf download" not in str(refused.value)
    (line,) = re.findall(r'python -c "(.*?)"', str(refused.value))
    exec(line)
    found = open_hugging_face_clip(str(copied_clip)).parts["image_tower.vision"].state_dict()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("has_pull_request", [False, True])
def test_a_hub_s_pickle_is_told_without_settings_that_nobody_has(
    copied_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_pull_request: bool,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    # As a run with a network leaves the cache, which has its weights from a pull request.
    cached = tmp_path / "cache" / "models--some--clip"
    (cached / "refs" / "refs" / "pr").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    if has_pull_request:
        (cached / "refs" / "refs" / "pr" / "1").write_text("b" * 40)
        (cached / "snapshots" / ("b" * 40)).mkdir(parents=True)
        shutil.copy(copied_clip / "model.safetensors", cached / "snapshots" / ("b" * 40))
    (copied_clip / "model.safetensors").unlink()
    shutil.copytree(copied_clip, cached / "snapshots" / ("a" * 40))
    with pytest.raises(ConfigError, match=r"hf download some/clip --local-dir") as refused:
        open_hugging_face_clip("some/clip")
    assert "use_safetensors" not in str(refused.value)


def test_a_file_that_git_lfs_left_out_is_named(copied_clip: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 605157884\n"
    (copied_clip / "model.safetensors").write_text(pointer)
    with pytest.raises(ConfigError, match=r"model\.safetensors is a note of Git LFS.*git lfs pull"):
        open_hugging_face_clip(str(copied_clip))


def test_damaged_weights_are_said_to_be_damaged(copied_clip: Path) -> None:
    os.truncate(copied_clip / "model.safetensors", 1000)
    with pytest.raises(ConfigError, match="its weights are damaged"):
        open_hugging_face_clip(str(copied_clip))


@pytest.mark.parametrize("how", ["code of its own", "no model_type", "no config.json"])
def test_an_open_clip_model_without_its_prefix_is_told_of_it(copied_clip: Path, how: str) -> None:
    file = copied_clip / "config.json"
    config = json.loads(file.read_text())
    if how == "code of its own":
        config |= {"model_type": "their-clip", "auto_map": {"AutoConfig": "their_clip.Config"}}
        (copied_clip / "their_clip.py").write_text("")
    else:
        del config["model_type"]
    file.write_text(json.dumps(config))
    if how == "no config.json":
        file.unlink()
        (copied_clip / "open_clip_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"towers: open_clip:NAME") as refused:
        open_hugging_face_clip(str(copied_clip))
    assert "trust_remote_code" not in str(refused.value)


@pytest.mark.parametrize("how", ["heads", "kind of value", "merges"])
def test_what_the_libraries_refuse_is_a_message(copied_clip: Path, how: str) -> None:
    file = copied_clip / "config.json"
    config = json.loads(file.read_text())
    if how == "merges":
        tokenizer = json.loads((copied_clip / "tokenizer.json").read_text())
        tokenizer["model"]["merges"] = [["zzq", "qqz"]]
        (copied_clip / "tokenizer.json").write_text(json.dumps(tokenizer))
    elif how == "heads":
        config["vision_config"]["num_attention_heads"] = 7
    else:
        config["vision_config"]["hidden_size"] = "32"
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"at '{copied_clip}': "):
        open_hugging_face_clip(str(copied_clip))
