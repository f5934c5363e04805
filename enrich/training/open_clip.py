"""Published weights of open_clip's models, CLIPs and CoCas.

A CLIP of open_clip is the network of Hugging Face's CLIP under other names. It is converted, so
that a checkpoint on it runs without open_clip. A CoCa stays as it is. Weights are read from
safetensors only.
"""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from enrich.classifiers.coca_towers import (
    OpenClipModule,
    import_open_clip,
    new_coca,
    without_word_scores,
)
from enrich.classifiers.config import ClipTowers, CocaTowers
from enrich.errors import ConfigError
from enrich.images.settings import ImageShape
from enrich.training.pretrained import (
    OPENAI,
    PublishedTowers,
    clip_parts,
    clip_towers,
    explain,
    require_words,
    say_how_to_convert,
    with_plain_quotes,
)

# The settings of an open_clip CLIP that Hugging Face's has too.
_MODEL = {"embed_dim", "quick_gelu", "custom_text", "init_logit_scale", "vision_cfg", "text_cfg"}
_SIZES = {"width", "layers", "heads", "mlp_ratio", "head_width", "patch_size", "image_size"}
_WORDS = {"context_length", "vocab_size", "hf_tokenizer_name"}

_RENAMED = (
    (r"^visual\.", "vision_model."),
    (r"^(?:text\.)?(?=transformer|token_embedding|positional_embedding|ln_final)", "text_model."),
    (r"\.transformer\.resblocks\.", ".encoder.layers."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ln_pre\.", ".pre_layrnorm."),  # so spelt there
    (r"\.ln_post\.", ".post_layernorm."),
    (r"\.ln_final\.", ".final_layer_norm."),
    (r"\.conv1\.", ".embeddings.patch_embedding."),
    (r"\.class_embedding$", ".embeddings.class_embedding"),
    (r"\.token_embedding\.", ".embeddings.token_embedding."),
    (r"\.positional_embedding$", ".embeddings.position_embedding.weight"),
)
_PROJECTIONS = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
    "text.text_projection": "text_projection.weight",
}

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"

_CONVERT = (
    "from open_clip.factory import load_state_dict; from safetensors.torch import save_file; "
    "weights = load_state_dict('{folder}/open_clip_pytorch_model.bin'); "
    "save_file({{n: t.contiguous().clone() for n, t in weights.items()}}, "
    "'{folder}/open_clip_model.safetensors')"
)


def open_open_clip(name: str) -> PublishedTowers:
    """Open a CoCa or a CLIP of open_clip, by a name as for `find_folder`.

    Raises:
        ConfigError: it is missing or of another kind, or open_clip is not installed.
    """
    folder = find_folder(name)
    try:
        settings = read_settings(folder, name)
        model, text = settings["model_cfg"], settings["model_cfg"]["text_cfg"]
        read = _read_coca if "multimodal_cfg" in model else _read_clip
        towers, parts = read(folder, model)
        image = read_image_shape(settings)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = explain(str(folder), error)
        raise ConfigError(f"'{name}' cannot be opened as open_clip model: {reason}") from error
    tokenizer = open_tokenizer(folder, text["vocab_size"], text.get("hf_tokenizer_name"))
    return PublishedTowers(towers, image, tokenizer, parts)


def coca_parts(coca: OpenClipModule) -> dict[str, nn.Module]:
    """Return a CoCa's modules by their names in a classifier on `CocaTowers`."""
    return {
        "image_tower.visual": coca.visual,
        "text_tower.text": coca.text,
        "decoder": without_word_scores(coca),
    }


def convert_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of open_clip's CLIP as in Hugging Face's."""
    converted = {}
    for name, tensor in weights.items():
        tensor = tensor.float()
        if name in _PROJECTIONS:
            converted[_PROJECTIONS[name]] = tensor.T.contiguous()
        elif "in_proj_" in name:
            # Query, key and value are one tensor there.
            renamed = _rename(name.replace("in_proj_", "{}_proj."))
            converted |= {renamed.format(p): t for p, t in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            converted[_rename(name)] = tensor
    return converted


def _read_coca(folder: Path, model: dict[str, Any]) -> tuple[CocaTowers, dict[str, nn.Module]]:
    towers = CocaTowers(coca=model)
    coca = new_coca(towers)
    import_open_clip().load_checkpoint(coca, str(folder / WEIGHTS))
    # With its trained logit scale, as in a CLIP's towers.
    towers = CocaTowers(coca=model | {"init_logit_scale": coca.logit_scale.item()})
    return towers, coca_parts(coca)


def _read_clip(folder: Path, model: dict[str, Any]) -> tuple[ClipTowers, dict[str, nn.Module]]:
    config = _convert_config(model)
    clip = CLIPModel(config)
    clip.load_state_dict(convert_weights(load_file(folder / WEIGHTS)))
    return clip_towers(clip), clip_parts(clip)


def _convert_config(model: dict[str, Any]) -> CLIPConfig:
    """Return the configuration of the same network in Hugging Face's CLIP.

    Raises:
        ValueError: the network does not exist there.
    """
    halves = import_open_clip()
    vision = _complete(model["vision_cfg"], halves.CLIPVisionCfg(), _SIZES, "vision_cfg")
    text = _complete(model["text_cfg"], halves.CLIPTextCfg(), _SIZES | _WORDS, "text_cfg")
    if not isinstance(vision["layers"], int):
        raise ValueError(
            f"vision_cfg has layers of a ResNet: found {vision['layers']}, expected those of a ViT"
        )
    if unknown := model.keys() - _MODEL:
        raise ValueError(f"{', '.join(sorted(unknown))} of its configuration is not supported")
    both = {
        "projection_dim": model["embed_dim"],
        "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
    }
    return CLIPConfig(
        projection_dim=model["embed_dim"],
        vision_config=both
        | _sizes(vision)
        | {
            "num_attention_heads": vision["width"] // vision["head_width"],
            "patch_size": vision["patch_size"],
            "image_size": vision["image_size"],
        },
        text_config=both
        | _sizes(text)
        | {
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
        },
    )


def _complete(
    given: dict[str, Any], defaults: Any, supported: set[str], half: str
) -> dict[str, Any]:
    """Complete the settings of one half by open_clip's defaults.

    Raises:
        ValueError: a setting that is not `supported` differs from its default.
    """
    settings = vars(defaults) | given
    for name in sorted(settings.keys() - supported):
        if settings[name] != getattr(defaults, name, None):
            raise ValueError(
                f"{half} is not supported: found {name}: {settings[name]}, expected a plain "
                "transformer, such as ViT-B-32, or a CoCa, such as coca_ViT-B-32"
            )
    return settings


def _sizes(half: dict[str, Any]) -> dict[str, int]:
    return {
        "hidden_size": half["width"],
        "intermediate_size": int(half["width"] * half["mlp_ratio"]),
        "num_hidden_layers": half["layers"],
    }


def _rename(name: str) -> str:
    for theirs, ours in _RENAMED:
        name = re.sub(theirs, ours, name)
    return name


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
        advice = "expected an open_clip model in safetensors"
        if lacking == [WEIGHTS]:
            advice = say_how_to_convert(name, _CONVERT)
        raise ConfigError(f"'{name}' lacks {' and '.join(lacking)}: {advice}")
    return folder


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return the configuration of a model in its folder.

    Raises:
        OSError, ValueError, KeyError, TypeError: it cannot be read, or is of another kind.
    """
    settings: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    # Some files lack it, but open_clip's list of published weights has it.
    if _look_up(name).get("quick_gelu"):
        settings["model_cfg"].setdefault("quick_gelu", True)
    return settings


def read_image_shape(settings: dict[str, Any]) -> ImageShape:
    """Return size, mean and standard deviation of the model's pictures.

    A model that was trained on the centre square gets it; any other gets the whole picture, padded
    to a square.

    Raises:
        KeyError, ValueError: the configuration lacks them, or they are wrong.
    """
    wanted = settings.get("preprocess_cfg") or {}
    return ImageShape(
        size_px=settings["model_cfg"]["vision_cfg"]["image_size"],
        fit="crop" if wanted.get("resize_mode", "shortest") == "shortest" else "pad",
        mean=wanted.get("mean", OPENAI.mean),
        std=wanted.get("std", OPENAI.std),
    )


def open_tokenizer(folder: Path, words: int, another: str | None) -> Tokenizer:
    """Open the tokenizer of a folder, else open_clip's own.

    Args:
        folder: folder of the model.
        words: number of tokens that the model knows.
        another: name of the tokenizer that it was trained with, if that is not open_clip's.

    Raises:
        ConfigError: the tokenizer cannot be read or does not fit the model, or it is missing and
            open_clip is not installed.
    """
    file = folder / TOKENIZER
    if another is not None and not file.is_file():
        raise ConfigError(
            f"'{folder}' lacks {TOKENIZER}: expected the tokenizer of '{another}', with which it "
            "was trained. Put the file beside the weights."
        )
    tokenizer = _read_tokenizer(file) if file.is_file() else _convert_own_tokenizer()
    require_words(tokenizer, words, str(folder))
    return with_plain_quotes(tokenizer)


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
    try:
        return Path(snapshot_download(hub_name, allow_patterns=[CONFIG, WEIGHTS, TOKENIZER]))
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{name}' cannot be opened as open_clip model: {error}") from error


def _look_up(name: str) -> dict[str, Any]:
    """Look up a name in open_clip's list of published weights; {} if it is missing."""
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
        # tokenizers raises plain Exceptions.
        raise ConfigError(f"{file} cannot be read: {error}") from error


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
