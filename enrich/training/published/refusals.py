"""Why published weights cannot be opened, and what to do about it."""

from pathlib import Path

from safetensors import SafetensorError

_CONVERT = (
    "from transformers import AutoModel; "
    "AutoModel.from_pretrained('{folder}').save_pretrained('{folder}')"
)
_POINTER = b"version https://git-lfs"

# Parts of what transformers says where weights are in no safetensors file. Its own advice is of no
# use here: it names a setting of its own functions, and pull requests on the hub.
_NO_SAFETENSORS = (
    "no file named model.safetensors",
    "cannot be loaded with `safetensors`",
    "safetensors conversion",
)
# Parts of what it says of a model that it does not ship.
_FOREIGN = ("trust_remote_code", "model_type", "does not recognize this architecture")


def explain(name: str, error: Exception) -> str:
    """Returns what is wrong with a model's files, and what to do, as far as it is known.

    Args:
        name: Hub name or local folder.
        error: What the library that should have read them said.
    """
    folder, reason = Path(name), str(error)
    if name.startswith((".", "/", "~")) and not folder.exists():
        return "there is no such folder"
    if left_out := _left_out_by_git(folder):
        return (
            f"{left_out.name} is a note of Git LFS in the file's place: fetch the files themselves "
            "(git lfs pull, in that folder)"
        )
    if isinstance(error, SafetensorError):
        return f"its weights are damaged, copy them again ({reason})"
    if any(sign in reason for sign in _NO_SAFETENSORS):
        return say_how_to_convert(name, _CONVERT)
    if any(sign in reason for sign in _FOREIGN):
        return (
            "the installed transformers ships no such model, and a checkpoint's own code is never "
            "run (one of open_clip's is given as towers: open_clip:NAME)"
        )
    return reason


def say_how_to_convert(name: str, line: str) -> str:
    """Returns that there are no weights in safetensors, and a line of Python that makes some.

    Args:
        name: Hub name or local folder.
        line: The Python, for the folder at `{folder}`.
    """
    reason = "it has no weights in safetensors, and no pickle is read here. Convert it once: "
    if Path(name).is_dir():
        return f'{reason}python -c "{line.format(folder=name)}"'
    python = line.format(folder="FOLDER")
    return f'{reason}hf download {name} --local-dir FOLDER, python -c "{python}", and name FOLDER'


def _left_out_by_git(folder: Path) -> Path | None:
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with file.open("rb") as content:
            if content.read(len(_POINTER)) == _POINTER:
                return file
    return None
