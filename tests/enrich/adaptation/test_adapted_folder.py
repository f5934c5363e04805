"""The folder of an adapted checkpoint, whatever the one looks like that it was adapted from."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from enrich.adaptation.checkpoint import write_adapted
from enrich.classifiers.checkpoint import add_to_weights, load_classifier
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.manifest import BUNDLED, read_manifest


def test_a_checkpoint_of_read_only_files_beside_folders_is_copied(tmp_path: Path) -> None:
    original = Path(shutil.copytree(BUNDLED, tmp_path / "original"))
    (original / ".cache").mkdir()
    for file in filter(Path.is_file, original.iterdir()):
        file.chmod(0o444)

    write_adapted(read_manifest(original), {}, "mine", "a shop", tmp_path / "adapted")

    assert read_manifest(tmp_path / "adapted").config.name == "mine"
    files = list((tmp_path / "adapted").iterdir())
    assert all(file.is_file() and file.stat().st_mode & 0o200 for file in files)


def test_more_trust_is_added_to_what_there_was_and_to_none_in_older_weights(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(tiny_checkpoint, folder)
    trust = CmaClip.name_of_bias("color")
    for wanted in (1.5, 3.0):
        add_to_weights(folder, {trust: 1.5})
        weights = load_file(folder / "model.safetensors")
        assert weights[trust] == wanted and weights[trust].dtype == torch.half
    older = {name: tensor for name, tensor in weights.items() if name != trust}
    (folder / "model.safetensors").write_bytes(save(older))
    add_to_weights(folder, {trust: -2.0})
    assert load_file(folder / "model.safetensors").keys() == weights.keys()
    classifier, _ = load_classifier(read_manifest(folder), torch.device("cpu"))
    assert classifier.state_dict()[trust] == -2.0
