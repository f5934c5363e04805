"""Programs of the machine, each a shell script in its place."""

from pathlib import Path


def make_executable(file: Path, does: str) -> None:
    """Writes a shell script that can be run, and the folders that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/bash\n{does}\n")
    file.chmod(0o755)
