"""Published weights of open_clip's models, by hub, folder or open_clip's name.

Weights are read from safetensors only.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from tokenizers import Tokenizer, normalizers
from torch import nn
from transformers import CLIPTokenizer

from enrich.classifiers.config import OpenClipTowers
from enrich.classifiers.open_clip_towers import (
    OpenClipModule,
    import_open_clip,
    new_open_clip,
    without_word_scores,
)
from enrich.errors import ConfigError
from enrich.images.settings import ImageShape
from enrich.training.pretrained import (
    OPENAI_MEAN,
    OPENAI_STD,
    PublishedTowers,
    canonical,
    not_opened,
    open_tokenizer,
    put_before,
    require_words,
    with_plain_quotes,
)

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"
# What says by which token texts are filled up.
_TOKENIZER_SETTINGS = ["tokenizer_config.json", "special_tokens_map.json"]


def open_open_clip(name: str) -> PublishedTowers:
    """Open a model of open_clip, by a name as for `find_folder`."""
    folder = find_folder(name)
    try:
        settings = read_settings(folder, name)
        text = settings["model_cfg"]["text_cfg"]
        towers = OpenClipTowers(model=settings["model_cfg"])
        model = new_open_clip(towers)
        import_open_clip().factory.load_checkpoint(model, str(folder / WEIGHTS))
        image = read_image_shape(settings)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise not_opened(name, "open_clip model", error) from error
    tokenizer, pad_id = read_tokenizer(folder, text)
    found = {"logit_scale": model.logit_scale.item(), "pad_id": pad_id}
    word_scores = model.text_decoder.text_projection.detach() if towers.is_coca else None
    return PublishedTowers(
        towers.model_copy(update=found), image, tokenizer, open_clip_parts(model), word_scores
    )


def open_clip_parts(model: OpenClipModule) -> dict[str, nn.Module]:
    """Return a model's modules by their names in a classifier on `OpenClipTowers`."""
    parts = {"image_tower.visual": model.visual, "text_tower.text": model.text}
    if hasattr(model, "text_decoder"):
        parts["decoder"] = without_word_scores(model)
    return parts


def find_folder(name: str) -> Path:
    """Return the folder with a model's files.

    Args:
        name: a local folder, a hub name, or open_clip's name of a model: ViT-B-32 for the first of
            its published weights, `ViT-B-32/TAG` for those of a tag.

    Raises:
        ConfigError: the folder or a file is missing, or open_clip is not installed.
    """
    folder = Path(name) if Path(name).is_dir() else _fetch(name)
    if lacking := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        raise ConfigError(
            f"'{name}' lacks {' and '.join(lacking)}: expected an open_clip model in safetensors. "
            "Pickles are not read: see Towers in docs/training.md."
        )
    return folder


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return the configuration of a model in its folder."""
    settings: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    # Some files lack it, but open_clip's list of published weights has it.
    if _look_up(name).get("quick_gelu"):
        settings["model_cfg"].setdefault("quick_gelu", True)
    return settings


def read_image_shape(settings: dict[str, Any]) -> ImageShape:
    """Return size, mean and standard deviation of the model's pictures.

    A model that was trained on the centre square gets it; any other gets the whole picture, padded
    to a square.
    """
    wanted = settings.get("preprocess_cfg") or {}
    return ImageShape(
        size_px=settings["model_cfg"]["vision_cfg"].get("image_size", 224),
        fit="crop" if wanted.get("resize_mode", "shortest") == "shortest" else "pad",
        mean=wanted.get("mean", OPENAI_MEAN),
        std=wanted.get("std", OPENAI_STD),
    )


def read_tokenizer(folder: Path, text: dict[str, Any]) -> tuple[Tokenizer, int]:
    """Open a folder's tokenizer or open_clip's own, with the id that fills texts.

    `text` is `text_cfg` of the model's configuration.
    """
    another, words = text.get("hf_tokenizer_name"), text.get("vocab_size", 49_408)
    if (folder / TOKENIZER).is_file():
        opened = open_tokenizer(str(folder), words)
        tokenizer, pad_id = opened.backend_tokenizer, opened.pad_token_id or 0
    elif another is None:
        tokenizer, pad_id = _convert_own_tokenizer(), 0
        require_words(tokenizer, words, str(folder))
    else:
        raise ConfigError(
            f"'{folder}' lacks {TOKENIZER}: expected the tokenizer of '{another}', with which it "
            "was trained. Put the file beside the weights."
        )
    if another is None:
        # open_clip fills texts for its own tokenizer up with zeros.
        return with_plain_quotes(tokenizer), 0
    clean = (text.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
    if clean == "canonicalize":
        put_before(tokenizer, canonical())
    elif clean == "lower":
        put_before(tokenizer, [normalizers.Lowercase()])
    return tokenizer, pad_id


def _fetch(name: str) -> Path:
    """Download the files of a model, and return their folder."""
    model = name.partition("/")[0]
    tags = import_open_clip().list_pretrained_tags_by_model(model)
    hub_name = _look_up(name).get("hf_hub", "").strip("/") if tags else name
    if not hub_name:
        raise ConfigError(
            f"open_clip lacks safetensors for '{name}': expected a tag of {model}: "
            f"{', '.join(tags)}"
        )
    files = [CONFIG, WEIGHTS, TOKENIZER, *_TOKENIZER_SETTINGS]
    try:
        return Path(snapshot_download(hub_name, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise not_opened(name, "open_clip model", error) from error


def _look_up(name: str) -> dict[str, Any]:
    """Look up a name in open_clip's list of published weights; {} if it is missing."""
    if Path(name).is_dir():
        return {}
    open_clip = import_open_clip()
    model, _, tag = name.partition("/")
    tags = open_clip.list_pretrained_tags_by_model(model)
    return (open_clip.get_pretrained_cfg(model, tag or tags[0]) or {}) if tags else {}


def _convert_own_tokenizer() -> Tokenizer:
    """Convert open_clip's own tokenizer to one of Hugging Face."""
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
