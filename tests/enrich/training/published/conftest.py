"""A published CLIP that a test may change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied_clip(clip_folder: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(clip_folder, tmp_path / "copied"))
