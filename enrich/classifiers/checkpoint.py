"""Classifiers by name, and their weights, in safetensors only and without pickle."""

import inspect
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor

from enrich.calibration import Calibration
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.config import (
    ANSWERING_MODULES,
    NAME_PATTERN,
    ClassifierConfig,
    ClassifierName,
)
from enrich.classifiers.int8 import use_int8
from enrich.classifiers.interface import Classifier
from enrich.classifiers.joint import ClipTransformer, Coca, PerceiverIo
from enrich.classifiers.manifest import Manifest, digest_checkpoint
from enrich.classifiers.pooled import (
    ClipMlp,
    ClipSum,
    ClipZeroShot,
    EmbraceNet,
    ImageOnly,
    TextOnly,
)
from enrich.classifiers.stream import Mmbt, SingleStream
from enrich.classifiers.towers import TextEncoder
from enrich.errors import CheckpointError, ConfigError, EnrichError, NoAnswer
from enrich.lexicon import Lexicon
from enrich.places import atomic_write_folder, prepare_target, refuse_existing
from enrich.unseen import Reference

_LONGEST_SAID = 300

CLASSIFIERS: dict[ClassifierName, type[Classifier]] = {
    "cma_clip": CmaClip,
    "clip_zero_shot": ClipZeroShot,
    "clip_sum": ClipSum,
    "clip_mlp": ClipMlp,
    "clip_transformer": ClipTransformer,
    "mmbt": Mmbt,
    "embracenet": EmbraceNet,
    "perceiver_io": PerceiverIo,
    "coca": Coca,
    "image_only": ImageOnly,
    "text_only": TextOnly,
    "single_stream": SingleStream,
}


def build_classifier(config: ClassifierConfig, vocabulary: int) -> Classifier:
    """Return the classifier that the configuration names, with random weights."""
    return CLASSIFIERS[config.classifier](config, vocabulary)


def summarise(classifier: type[Classifier]) -> str:
    """Return the first line of the classifier's docstring."""
    return inspect.cleandoc(classifier.__doc__ or "").partition("\n")[0]


def load_classifier(manifest: Manifest, device: torch.device) -> tuple[Classifier, TextEncoder]:
    """Load weights and tokenizer onto `device`, ready for inference.

    Raises CheckpointError if they do not fit the configuration, or this machine cannot compute in
    int8, and NoAnswer if files were exchanged since the manifest was read.
    """
    config = manifest.config
    with _reading(manifest):
        tokenizer = Tokenizer.from_file(str(manifest.folder / "tokenizer.json"))
        classifier = build_classifier(config, tokenizer.get_vocab_size())
        classifier.load_state_dict(load_file(manifest.folder / "model.safetensors"))
    classifier.to(device).to(memory_format=torch.channels_last).eval()
    if config.int8 and device.type == "cpu":
        use_int8(classifier.image_tower)
        use_int8(classifier.text_tower)
    return classifier, TextEncoder(tokenizer, config.text_length)


def load_answering(manifest: Manifest) -> Classifier:
    """Load a classifier's answering half onto the CPU, without the encoder."""
    with _reading(manifest):
        classifier = CLASSIFIERS[manifest.config.classifier](manifest.config, None)
        with safe_open(manifest.folder / "model.safetensors", framework="pt") as weights:
            mine = {
                name: weights.get_tensor(name)
                for name in weights.keys()  # noqa: SIM118
                if name.partition(".")[0] in ANSWERING_MODULES
            }
        classifier.load_state_dict(mine)
    return classifier.eval()


@contextmanager
def _reading(manifest: Manifest) -> Iterator[None]:
    """Name the file that cannot be read, and refuse files that were exchanged."""
    folder = manifest.folder
    try:
        yield
    except (EnrichError, MemoryError):
        raise
    except Exception as error:
        # tokenizers raises a bare Exception for a tokenizer.json that it cannot read; and a library
        # may raise anything at a configuration that does not fit its classes.
        if type(error) is Exception:
            raise CheckpointError(f"{folder}/tokenizer.json cannot be read: {error}") from error
        # torch names each weight in a line of its own, and Spark hands on a worker's first line.
        said = " ".join(str(error).split())[:_LONGEST_SAID]
        raise CheckpointError(
            f"{folder}/model.safetensors is damaged or of another configuration: "
            f"{type(error).__name__}: {said}. Copy the whole folder again"
        ) from error
    finally:
        # Also when loading has failed: the exchange may be why. And if it has not, answers would go
        # into tables under the version of the checkpoint that was there before.
        _refuse_exchanged(manifest)


def _refuse_exchanged(manifest: Manifest) -> None:
    folder = manifest.folder
    try:
        is_same = digest_checkpoint(folder) == manifest.digests
    except CheckpointError:
        is_same = False
    if not is_same:
        raise NoAnswer(f"the checkpoint in {folder} was replaced while it was read. Run this again")


def round_as_stored(classifier: Classifier) -> None:
    """Round the weights as the checkpoint will, so that what is measured is shipped."""
    _round(classifier)
    classifier.refresh()
    _round(classifier)


@torch.no_grad()
def _round(classifier: Classifier) -> None:
    for tensor in classifier.state_dict().values():
        tensor.copy_(_as_stored(tensor))


def save_checkpoint(
    folder: Path,
    classifier: Classifier,
    tokenizer: Tokenizer,
    calibration: Calibration,
    metrics: dict[str, object],
    model_card: str,
    training: str | None = None,
    lexicon: Lexicon | None = None,
    reference: Reference | None = None,
) -> None:
    """Write a whole checkpoint folder atomically, with weights in half precision.

    An existing folder is replaced. `metrics.json` names the content that its figures are of.
    """
    weights = {name: _as_stored(t).contiguous() for name, t in classifier.state_dict().items()}
    with atomic_write_folder(folder) as partial:
        # save_file would make it readable by its owner alone; the job may run as somebody else.
        (partial / "model.safetensors").write_bytes(save(weights))
        tokenizer.save(str(partial / "tokenizer.json"))
        (partial / "config.json").write_text(classifier.config.model_dump_json(indent=2) + "\n")
        (partial / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
        words = Lexicon({}) if lexicon is None else lexicon
        (partial / "lexicon.json").write_text(words.model_dump_json(indent=2) + "\n")
        if reference is not None:
            reference.save(partial)
        write_metrics(partial, {"content": digest_checkpoint(partial).model} | metrics)
        (partial / "MODEL_CARD.md").write_text(model_card)
        if training is not None:
            (partial / "training.yaml").write_text(training)


def check_checkpoint_target(name: str, output: Path) -> None:
    """Raise ConfigError unless a checkpoint of that name can be a new folder."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"checkpoint name is wrong: found '{name}', expected {NAME_PATTERN}")
    refuse_existing(output)
    prepare_target(output)


@contextmanager
def derived_checkpoint(
    manifest: Manifest, config: ClassifierConfig, output: Path
) -> Iterator[Path]:
    """Yield a copy of a checkpoint's folder with another configuration.

    The copy becomes `output` when the block ends without an error.
    """
    with atomic_write_folder(output) as partial:
        for file in filter(Path.is_file, manifest.folder.iterdir()):
            # Without its permissions: a file that may not be written to has to be changed here.
            shutil.copyfile(file, partial / file.name)
        (partial / "config.json").write_text(config.model_dump_json(indent=2) + "\n")
        yield partial


def add_to_weights(folder: Path, added: Mapping[str, float]) -> None:
    """Add to weights of the folder by their names."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, more in added.items():
        weights[name] = _as_stored(weights[name].float() + more)
    file.write_bytes(save(weights))


def write_metrics(folder: Path, metrics: Mapping[str, object]) -> None:
    """Write `metrics.json` anew."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def add_to_card(folder: Path, section: str) -> None:
    """Add a section, Markdown with its heading, to the end of the model card."""
    file = folder / "MODEL_CARD.md"
    card = file.read_text() if file.exists() else ""
    file.write_text(f"{card.rstrip()}\n\n{section}")


def _as_stored(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
