"""Files of a checkpoint folder, read without its weights.

    config.json        everything that training fixed
    model.safetensors  weights, half precision
    tokenizer.json     the tokenizer
    calibration.json   temperatures and thresholds
    lexicon.json       words by which texts name labels
    reference.safetensors  a sample of training's pictures, by which unseen sources are told; a
                       checkpoint that reads no picture has none
    metrics.json       what was measured, and the digest of the content it was measured of
    training.yaml      the configuration that trains the same weights again, where a run wrote it
    MODEL_CARD.md      for people

Free of torch, so that a Spark driver checks a checkpoint and names its version in milliseconds.
"""

import atexit
import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import ArrowException, fs
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from enrich.calibration import Calibration
from enrich.classifiers.config import ANSWERING_MODULES, ClassifierConfig
from enrich.errors import CheckpointError, NoAnswer, kind_of, refuse_secrets
from enrich.images.locations import spell_out
from enrich.lexicon import Lexicon
from enrich.settings_files import describe_invalid
from enrich.unseen import FILE as REFERENCE_FILE

BUNDLED = Path(__file__).parent.parent / "checkpoints" / "cma-clip-small"
# Raise it when the normalisation of texts or the decoding or resizing of pictures changes: the
# same product and weights have other vectors then.
ENCODER_REVISION = 1

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
# What vectors depend on beside the encoder's weights and settings, and what answers do.
_OF_ENCODER, _OF_ANSWERS = ("tokenizer.json",), ("calibration.json", "lexicon.json")

# Google's client asks again for a quarter of an hour if it is not told otherwise.
_GOOGLE_RETRIES_S = 60

Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Configuration, calibration, lexicon and digests of a checkpoint."""

    folder: Path
    config: ClassifierConfig
    calibration: Calibration
    lexicon: Lexicon
    digests: "Digests"

    @property
    def guessed(self) -> frozenset[str]:
        """Attributes that were added by names alone, without labelled products."""
        return frozenset(self.config.headless).difference(self.calibration.fitted)


@dataclass(frozen=True, slots=True)
class Digests:
    """Digests of a checkpoint's content without its name, 12 hex digits each.

    `encoder` covers everything but the product that vectors depend on, `model` everything that
    answers depend on.
    """

    encoder: str
    model: str


def read_manifest(folder: Path) -> Manifest:
    """Read the checkpoint's JSON files, check its weights and take its digests.

    Raises CheckpointError if a file is missing or does not hold what it should.
    """
    needed = (_CONFIG, *_OF_ANSWERS, *_OF_ENCODER, _WEIGHTS)
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it lacks {', '.join(missing)}, expected a folder that "
            "`catalog-enrich train` wrote"
        )
    weights = folder / _WEIGHTS
    try:
        # Reads its table of contents, which shows whether the file is cut off.
        with safe_open(weights, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is damaged: {error}. Copy it again") from error
    # Taken first: if files are exchanged after this, `load_classifier` finds other digests.
    digests = digest_checkpoint(folder)
    config = _read_json(folder / _CONFIG, ClassifierConfig)
    calibration = _read_json(folder / "calibration.json", Calibration)
    if set(calibration.attributes) != set(config.attributes):
        raise CheckpointError(
            f"{folder}/calibration.json is of another checkpoint: found "
            f"{sorted(calibration.attributes)}, expected {sorted(config.attributes)}"
        )
    lexicon = _read_json(folder / "lexicon.json", Lexicon)
    return Manifest(folder, config, calibration, lexicon, digests)


def fetch_manifest(location: str | None) -> Manifest:
    """Read the checkpoint at `location`, None for the bundled one.

    One in an object store is copied here first. Every process makes its own copy, so that none is
    stale. Raises CheckpointError if it cannot be read, or a file does not hold what it should,
    ConfigError if the address holds a password or a token, and NoAnswer if its store is out of
    reach.
    """
    location = str(BUNDLED) if location is None else location
    refuse_secrets(location, "checkpoint")
    with ExitStack() as stack:
        manifest = read_manifest(stack.enter_context(fetched_checkpoint(location)))
        atexit.register(stack.pop_all().close)
    return manifest


@contextmanager
def fetched_checkpoint(location: str) -> Iterator[Path]:
    """Yield the local folder of a checkpoint, and remove a copy afterwards.

    It is for Spark's Python workers, which end without running their exit handlers. Errors of a
    checkpoint inside the block name its location, not the copy. Raises CheckpointError if the
    checkpoint cannot be read at `location`, and NoAnswer if its store is out of reach.
    """
    location = spell_out(location)
    if "://" not in location:
        yield Path(location)
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-", ignore_cleanup_errors=True) as local:
        try:
            store, path = _open_store(location)
            fs.copy_files(path, local, source_filesystem=store)
        except (OSError, ArrowException) as error:
            kind = kind_of([str(error)], CheckpointError)
            raise kind(f"the checkpoint {location} cannot be read: {error}") from error
        try:
            yield Path(local)
        except (CheckpointError, NoAnswer) as error:
            # A folder that is gone when this is read, and of an unknown machine.
            raise type(error)(str(error).replace(local, location.rstrip("/"))) from error


def digest_listing(location: str) -> str:
    """Return a digest of a checkpoint's config.json and of its files' names and sizes.

    It tells whether another machine has the same checkpoint, without reading weights. Raises
    OSError or ArrowException where nothing can be read.
    """
    store, path = _open_store(spell_out(location))
    files = store.get_file_info(fs.FileSelector(path))
    with store.open_input_file(f"{path}/{_CONFIG}") as config:
        listed = sorted((file.base_name, file.size) for file in files if file.is_file)
        return hashlib.sha256(repr((listed, config.readall())).encode()).hexdigest()[:12]


def _open_store(location: str) -> tuple[fs.FileSystem, str]:
    """Return Arrow's file system of a checkpoint, and its path there."""
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).absolute())
    uri = location.replace("s3a://", "s3://", 1)
    if uri.startswith("gs://") and "?" not in uri:
        uri += f"?retry_limit_seconds={_GOOGLE_RETRIES_S}"
    return fs.FileSystem.from_uri(uri)


def _read_json(file: Path, model: type[Content]) -> Content:
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{file} does not fit: {describe_invalid(error, model)}") from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error


def digest_checkpoint(folder: Path) -> Digests:
    """Return the digests of a checkpoint's folder.

    Raises CheckpointError if a file is missing, cannot be read or does not hold what it should.
    """
    config = _read_json(folder / _CONFIG, ClassifierConfig)
    encoder, answers = hashlib.sha256(), hashlib.sha256()
    for digest, settings in (
        (encoder, {"revision": ENCODER_REVISION, **config.encoder_settings()}),
        (answers, config.answering_settings()),
    ):
        digest.update(json.dumps(settings, sort_keys=True).encode())
    try:
        for digest, names in ((encoder, _OF_ENCODER), (answers, _OF_ANSWERS)):
            for name in names:
                digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        if (folder / REFERENCE_FILE).exists():
            answers.update(hashlib.sha256((folder / REFERENCE_FILE).read_bytes()).digest())
        for name, tensor in _read_tensors(folder / _WEIGHTS):
            module, _, _ = name.partition(".")
            (answers if module in ANSWERING_MODULES else encoder).update(tensor)
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from error
    answers.update(encoder.digest())
    return Digests(encoder.hexdigest()[:12], answers.hexdigest()[:12])


def _read_tensors(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each tensor's name, and a digest of name, type, shape and numbers.

    The file has 8 bytes of the header's length, a JSON header, and the tensors' bytes at the
    header's offsets. `safe_open` has checked it.
    """
    with file.open("rb") as weights:
        (length,) = struct.unpack("<Q", weights.read(8))
        header = json.loads(weights.read(length))
        header.pop("__metadata__", None)
        for name, described in sorted(header.items()):
            start, end = described.pop("data_offsets")
            weights.seek(8 + length + start)
            digest = hashlib.sha256(json.dumps([name, described], sort_keys=True).encode())
            digest.update(weights.read(end - start))
            yield name, digest.digest()


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the content of `metrics.json`, empty without the file.

    Raises CheckpointError if the file cannot be read.
    """
    file = folder / "metrics.json"
    try:
        return dict(json.loads(file.read_text())) if file.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def list_adaptations(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield the entries of `metrics.json` about earlier fits, the last one first.

    The keys are `from`, the name and digest of the checkpoint before; `shop`; and `attributes`,
    whose `adapted` is true where the fit changed answers.
    """
    adaptation = read_metrics(manifest.folder).get("adaptation")
    while adaptation:
        yield adaptation
        adaptation = adaptation.get("earlier")


def list_changes(manifest: Manifest) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each earlier fit, the last one first.

    A fit is the name and digest of the checkpoint before it, and the attributes that it changed.
    """
    for adaptation in list_adaptations(manifest):
        fits = adaptation["attributes"].items()
        yield adaptation["from"], tuple(name for name, one in fits if one["adapted"])
