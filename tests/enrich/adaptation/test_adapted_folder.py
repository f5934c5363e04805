"""The folder of an adapted checkpoint, whatever the one looks like that it was adapted from."""

import shutil
from pathlib import Path

from enrich.adaptation.checkpoint import write_adapted
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
