"""Published weights of open_clip's CoCas, by its own model name, hub name or local folder.

Safetensors only: open_clip would also read a pickle that lies beside the configuration.
"""

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import CLIPTokenizer

from enrich.classifiers.coca_towers import (
    OpenClipModule,
    import_open_clip,
    new_coca,
    without_word_scores,
)
from enrich.classifiers.config import CocaTowers
from enrich.errors import ConfigError
from enrich.preprocess import ImageShape
from enrich.training.preprocessors import OPENAI
from enrich.training.pretrained import Published

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"


def open_coca(name: str) -> Published:
    """Opens a CoCa as open_clip publishes it.

    Args:
        name: A local folder, a hub name, or open_clip's name of a model (coca_ViT-B-32), which
            stands for the first of its published weights.

    Raises:
        ConfigError: there is none, or what is there is of another kind.
        CheckpointError: open_clip is not installed.
    """
    folder = Path(name) if Path(name).is_dir() else _fetch(name)
    if lacking := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        raise ConfigError(
            f"'{name}' holds no {' and no '.join(lacking)}; wanted an open_clip CoCa in safetensors"
        )
    try:
        settings = json.loads((folder / CONFIG).read_text())
        towers = CocaTowers(coca=settings["model_cfg"])
        coca = new_coca(towers)
        import_open_clip().load_checkpoint(coca, str(folder / WEIGHTS))
        image = _read_image_shape(settings.get("preprocess_cfg", {}), towers)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"no open_clip CoCa can be read at '{name}': {error}") from error
    return Published(towers, image, _open_tokenizer(folder, towers), coca_parts(coca))


def coca_parts(coca: OpenClipModule) -> dict[str, nn.Module]:
    """Returns a CoCa's modules by their names in a classifier on `CocaTowers`."""
    return {
        "image_tower.visual": coca.visual,
        "text_tower.text": coca.text,
        "decoder": without_word_scores(coca),
    }


def _fetch(name: str) -> Path:
    """Returns the folder with a hub's copy."""
    open_clip = import_open_clip()
    tags = open_clip.list_pretrained_tags_by_model(name)
    hub_name = open_clip.get_pretrained_cfg(name, tags[0])["hf_hub"].strip("/") if tags else name
    try:
        return Path(snapshot_download(hub_name, allow_patterns=[CONFIG, WEIGHTS, TOKENIZER]))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no open_clip CoCa at '{name}': {error}") from error


def _read_image_shape(settings: dict[str, object], towers: CocaTowers) -> ImageShape:
    return ImageShape(
        size_px=towers.coca["vision_cfg"]["image_size"],
        fit="crop" if settings.get("resize_mode", "shortest") == "shortest" else "pad",
        mean=settings.get("mean", OPENAI.mean),  # type: ignore[arg-type]
        std=settings.get("std", OPENAI.std),  # type: ignore[arg-type]
    )


def _open_tokenizer(folder: Path, towers: CocaTowers) -> Tokenizer:
    """Returns the folder's tokenizer, or the one that open_clip itself has for its CoCas."""
    file = folder / TOKENIZER
    tokenizer = _read_tokenizer(file) if file.is_file() else _convert_open_clip_s()
    size, wanted = tokenizer.get_vocab_size(), towers.coca["text_cfg"]["vocab_size"]
    if size > wanted or not tokenizer.encode("").ids:
        raise ConfigError(
            f"the tokenizer for '{folder}' has {size} tokens and the model {wanted}, or it does "
            f"not mark where a text ends; put the model's own {TOKENIZER} beside its weights"
        )
    return tokenizer


def _read_tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        # tokenizers raises nothing more special.
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _convert_open_clip_s() -> Tokenizer:
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
