"""A model's files as open_clip publishes them: where they are, and what lies beside the weights.

Safetensors only: open_clip would also read a pickle that lies beside the configuration.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from enrich.classifiers.coca_towers import import_open_clip
from enrich.errors import ConfigError
from enrich.preprocess import ImageShape
from enrich.training.published.preprocessors import OPENAI
from enrich.training.published.refusals import say_how_to_convert
from enrich.training.tokenizers import require_words, with_plain_quotes

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"

_CONVERT = (
    "from open_clip.factory import load_state_dict; from safetensors.torch import save_file; "
    "weights = load_state_dict('{folder}/open_clip_pytorch_model.bin'); "
    "save_file({{n: t.contiguous().clone() for n, t in weights.items()}}, "
    "'{folder}/open_clip_model.safetensors')"
)


def find_folder(name: str) -> Path:
    """Returns the folder with a model's files.

    Args:
        name: A local folder, a hub name, or open_clip's name of a model (ViT-B-32), which stands
            for the first of its published weights; `ViT-B-32/TAG` for those of a tag.

    Raises:
        ConfigError: there is none, it lacks a file, or open_clip is not installed.
    """
    folder = Path(name) if Path(name).is_dir() else _fetch(name)
    if lacking := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        wanted = "wanted an open_clip model in safetensors"
        if lacking == [WEIGHTS]:
            wanted = say_how_to_convert(name, _CONVERT)
        raise ConfigError(f"'{name}' holds no {' and no '.join(lacking)}; {wanted}")
    return folder


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Returns the configuration in the folder that `find_folder` found for this name.

    Raises:
        OSError, ValueError, KeyError, TypeError: it cannot be read, or is of another kind.
    """
    settings: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    # Some files do not say it, but open_clip's own list of published weights does.
    if _look_up(name).get("quick_gelu"):
        settings["model_cfg"].setdefault("quick_gelu", True)
    return settings


def read_image_shape(settings: dict[str, Any]) -> ImageShape:
    """Returns size, mean and standard deviation that the model was made for.

    A model that saw the centre square gets it; any other saw the whole picture, and gets that
    padded to a square.

    Raises:
        KeyError, ValueError: the configuration does not say, or says what makes no picture.
    """
    wanted = settings.get("preprocess_cfg") or {}
    return ImageShape(
        size_px=settings["model_cfg"]["vision_cfg"]["image_size"],
        fit="crop" if wanted.get("resize_mode", "shortest") == "shortest" else "pad",
        mean=wanted.get("mean", OPENAI.mean),
        std=wanted.get("std", OPENAI.std),
    )


def open_tokenizer(folder: Path, words: int, another: str | None) -> Tokenizer:
    """Returns the folder's tokenizer, or the one that open_clip itself has for its models.

    Args:
        folder: The model's.
        words: How many tokens the model knows.
        another: The name of the tokenizer that it was trained with, if that is not open_clip's.

    Raises:
        ConfigError: it cannot be read or is not the model's, or the folder has none and open_clip
            is not installed.
    """
    file = folder / TOKENIZER
    if another is not None and not file.is_file():
        raise ConfigError(
            f"'{folder}' was trained with the tokenizer of '{another}': put its {TOKENIZER} beside "
            "the weights"
        )
    tokenizer = _read_tokenizer(file) if file.is_file() else _convert_own_tokenizer()
    require_words(tokenizer, words, str(folder))
    return with_plain_quotes(tokenizer)


def _fetch(name: str) -> Path:
    """Returns the folder with a hub's copy."""
    model = name.partition("/")[0]
    tags = import_open_clip().list_pretrained_tags_by_model(model)
    hub_name = _look_up(name).get("hf_hub", "").strip("/") if tags else name
    if not hub_name:
        raise ConfigError(
            f"open_clip has no safetensors for '{name}'; tags of {model}: {', '.join(tags)}"
        )
    try:
        return Path(snapshot_download(hub_name, allow_patterns=[CONFIG, WEIGHTS, TOKENIZER]))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no open_clip model at '{name}': {error}") from error


def _look_up(name: str) -> dict[str, Any]:
    """Returns what open_clip's list of published weights says of a name; {} if it lacks it."""
    if Path(name).is_dir():
        return {}
    open_clip = import_open_clip()
    model, _, tag = name.partition("/")
    tags = open_clip.list_pretrained_tags_by_model(model)
    return (open_clip.get_pretrained_cfg(model, tag or tags[0]) or {}) if tags else {}


def _read_tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        # tokenizers raises nothing more special.
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _convert_own_tokenizer() -> Tokenizer:
    """Returns the tokenizer that open_clip brings for its models, made one of Hugging Face's."""
    published = import_open_clip().SimpleTokenizer()
    start, end = (published.decoder[token] for token in published.all_special_ids)
    converted = CLIPTokenizer(
        vocab=dict(published.encoder),
        merges=sorted(published.bpe_ranks, key=published.bpe_ranks.__getitem__),
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=end,
    )
    tokenizer: Tokenizer = converted.backend_tokenizer
    return tokenizer
