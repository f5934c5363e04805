"""Published weights of open_clip's models: CoCas as they are, CLIPs as Hugging Face's CLIP.

An open_clip CLIP is the same network as Hugging Face's, under other names. It is converted, so that
a checkpoint that started from it runs without open_clip.
"""

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from enrich.classifiers.coca_towers import (
    OpenClipModule,
    import_open_clip,
    new_coca,
    without_word_scores,
)
from enrich.classifiers.config import ClipTowers, CocaTowers
from enrich.errors import ConfigError
from enrich.training.published.open_clip_files import (
    WEIGHTS,
    find_folder,
    open_tokenizer,
    read_image_shape,
    read_settings,
)
from enrich.training.published.pretrained import PublishedTowers, clip_parts, clip_towers
from enrich.training.published.refusals import explain

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


def open_open_clip(name: str) -> PublishedTowers:
    """Opens a CoCa or a CLIP as open_clip publishes it, by a name as `find_folder` takes it.

    Raises:
        ConfigError: there is none, what is there is of another kind, or open_clip is not installed.
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
        raise ConfigError(f"no open_clip model can be read at '{name}': {reason}") from error
    tokenizer = open_tokenizer(folder, text["vocab_size"], text.get("hf_tokenizer_name"))
    return PublishedTowers(towers, image, tokenizer, parts)


def coca_parts(coca: OpenClipModule) -> dict[str, nn.Module]:
    """Returns a CoCa's modules by their names in a classifier on `CocaTowers`."""
    return {
        "image_tower.visual": coca.visual,
        "text_tower.text": coca.text,
        "decoder": without_word_scores(coca),
    }


def convert_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of open_clip's CLIP by the names that they have in Hugging Face's."""
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
    # As in a CLIP's towers, the scale begins where its training ended.
    towers = CocaTowers(coca=model | {"init_logit_scale": coca.logit_scale.item()})
    return towers, coca_parts(coca)


def _read_clip(folder: Path, model: dict[str, Any]) -> tuple[ClipTowers, dict[str, nn.Module]]:
    config = _convert_config(model)
    clip = CLIPModel(config)
    clip.load_state_dict(convert_weights(load_file(folder / WEIGHTS)))
    return clip_towers(clip), clip_parts(clip)


def _convert_config(model: dict[str, Any]) -> CLIPConfig:
    """Returns the configuration of the same network.

    Raises:
        ValueError: Hugging Face's CLIP has no such network.
    """
    halves = import_open_clip()
    vision = _complete(model["vision_cfg"], halves.CLIPVisionCfg(), _SIZES, "vision_cfg")
    text = _complete(model["text_cfg"], halves.CLIPTextCfg(), _SIZES | _WORDS, "text_cfg")
    if not isinstance(vision["layers"], int):
        raise ValueError(f"vision_cfg has layers: {vision['layers']}, a ResNet's; wanted a ViT")
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
    """Returns the settings of one half, completed by open_clip's defaults.

    Raises:
        ValueError: one that is not `supported` has another value than its default.
    """
    settings = vars(defaults) | given
    for name in sorted(settings.keys() - supported):
        if settings[name] != getattr(defaults, name, None):
            raise ValueError(
                f"{half} has {name}: {settings[name]}; of open_clip's CLIPs those of its own plain "
                "transformers are supported, such as ViT-B-32, and CoCas, such as coca_ViT-B-32"
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
