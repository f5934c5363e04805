"""Reads and writes checkpoint folders: JSON and safetensors only, no pickle, no remote code.

    config.json        everything that training fixed
    model.safetensors  weights, half precision
    tokenizer.json     the tokenizer
    calibration.json   temperatures and thresholds
    metrics.json       what was measured
    MODEL_CARD.md      for people

`read_manifest` needs no weights, so a Spark driver can check a checkpoint and name its version in
milliseconds.
"""

import atexit
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pyarrow import ArrowException, fs
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer

from enrich.calibration import Calibration
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.interface import Classifier, ClassifierConfig
from enrich.errors import CheckpointError
from enrich.tokenizer import TextEncoder

BUNDLED = Path(__file__).parent.parent / "checkpoints" / "cma-clip-small"
# In this order they make up the content digest: what any of them says changes the answers.
_DIGESTED = ("config.json", "calibration.json", "tokenizer.json", "model.safetensors")

Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint says about itself; `digest` is of its whole content, 12 hex digits."""

    folder: Path
    config: ClassifierConfig
    calibration: Calibration
    digest: str


def read_manifest(folder: Path) -> Manifest:
    """Reads the checkpoint's JSON files and takes its digest.

    Raises:
        CheckpointError: a file is missing or does not hold what it should.
    """
    if missing := [name for name in _DIGESTED if not (folder / name).is_file()]:
        raise CheckpointError(
            f"no checkpoint in {folder}: {', '.join(missing)} not found there. "
            "Wanted: a folder written by jobs/train_classifier.py"
        )
    config = _read_json(folder / "config.json", ClassifierConfig)
    calibration = _read_json(folder / "calibration.json", Calibration)
    if set(calibration.attributes) != set(config.attributes):
        raise CheckpointError(
            f"{folder}/calibration.json is for {sorted(calibration.attributes)}, "
            f"config.json for {sorted(config.attributes)}: they are of different checkpoints"
        )
    return Manifest(folder, config, calibration, _digest(folder))


def fetch_checkpoint(location: str) -> Path:
    """Returns the local folder of a checkpoint; one in an object store is copied here first.

    Raises:
        CheckpointError: nothing can be read at `location`.
    """
    if "://" not in location:
        return Path(location)
    # Every process makes its own copy, so that none serves a stale one.
    local = Path(tempfile.mkdtemp(prefix="checkpoint-"))
    atexit.register(shutil.rmtree, local, ignore_errors=True)
    try:
        store, path = fs.FileSystem.from_uri(location.replace("s3a://", "s3://", 1))
        fs.copy_files(path, str(local), source_filesystem=store)
    except (OSError, ArrowException) as error:
        raise CheckpointError(f"no checkpoint can be read at {location}: {error}") from error
    return local


def load_classifier(manifest: Manifest, device: torch.device) -> tuple[Classifier, TextEncoder]:
    """Loads the weights onto `device`, ready for inference, and the tokenizer.

    Raises:
        CheckpointError: the weights or the tokenizer do not fit the configuration.
    """
    folder, config = manifest.folder, manifest.config
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        classifier = build_classifier(config, tokenizer.get_vocab_size())
        weights = load_file(folder / "model.safetensors")
        classifier.load_state_dict(
            {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
        )
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{folder}/model.safetensors is damaged or of another configuration: {error}"
        ) from error
    except Exception as error:
        # tokenizers raises a bare Exception for a tokenizer.json that it cannot read.
        if type(error) is not Exception:
            raise
        raise CheckpointError(f"{folder}/tokenizer.json cannot be read: {error}") from error
    classifier.to(device).to(memory_format=torch.channels_last).eval()
    return classifier, TextEncoder(tokenizer, config.text_length)


def build_classifier(config: ClassifierConfig, vocabulary: int) -> Classifier:
    """Returns the classifier that the configuration names, with random weights."""
    return CmaClip(config, vocabulary)


def save_checkpoint(
    folder: Path,
    classifier: Classifier,
    tokenizer: Tokenizer,
    calibration: Calibration,
    metrics: dict[str, object],
    model_card: str,
) -> None:
    """Writes a whole checkpoint folder, weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in classifier.state_dict().items()
    }
    # save_file would make it readable by its owner alone; the job may run as somebody else.
    (folder / "model.safetensors").write_bytes(save(weights))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(classifier.config.model_dump_json(indent=2) + "\n")
    (folder / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    (folder / "MODEL_CARD.md").write_text(model_card)


def _read_json(file: Path, model: type[Content]) -> Content:
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _DIGESTED:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:12]
