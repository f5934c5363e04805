"""A random classifier small enough for any machine, and pictures to show it."""

import numpy as np
import pytest
import torch
from PIL import Image
from thresholds import alike

from enrich.calibration import CalibratedModalities, Calibration
from enrich.classifiers.checkpoint import build_classifier, save_checkpoint
from enrich.classifiers.config import ClassifierConfig, HuggingFaceTowers, SmallTowers
from enrich.images.settings import ImageShape
from enrich.records import Modalities
from enrich.training.preparation import train_tokenizer

# Models this small only lose by a second thread: 20 times slower where the cores are taken.
torch.set_num_threads(1)

ATTRIBUTES = {
    "color": ("red", "green", "blue", "white"),
    "pattern": ("solid", "striped", "printed"),
    "style": ("casual", "formal"),
}
# A transformer as Hugging Face describes it.
_LAYER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SENTENCES = [
    "a red striped shirt for the office",
    "blue casual shoes, plain and light",
    "green printed dress for a party",
    "white cotton shirt with a soft collar",
] * 4


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(SENTENCES, vocabulary=320)


@pytest.fixture(scope="session")
def small_config():
    return ClassifierConfig(
        name="tiny",
        towers=SmallTowers(width=32, heads=2, text_layers=1),
        image=ImageShape(size_px=64, fit="pad", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        text_length=16,
        attributes=ATTRIBUTES,
        joint_layers=1,
        joint_heads=2,
    )


@pytest.fixture(scope="session")
def clip_json(tokenizer):
    """The `config.json` of a Hugging Face CLIP of one layer a tower."""
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vocabulary = tokenizer.get_vocab_size()
    return {
        "text_config": _LAYER
        | special
        | {"vocab_size": vocabulary, "max_position_embeddings": 16, "projection_dim": 32},
        "vision_config": _LAYER | {"image_size": 64, "patch_size": 32, "projection_dim": 32},
        "projection_dim": 32,
    }


@pytest.fixture(scope="session")
def clip_config(small_config, clip_json):
    """The small configuration on the towers of a CLIP."""
    return small_config.model_copy(update={"towers": HuggingFaceTowers(model=clip_json)})


@pytest.fixture(scope="session")
def pair_json(tokenizer):
    """What `PairTowers` holds of a ViT and a BERT of one layer each."""
    vocabulary = tokenizer.get_vocab_size()
    return {
        "vision": _LAYER | {"model_type": "vit", "image_size": 64, "patch_size": 32},
        "text": _LAYER
        | {"model_type": "bert", "vocab_size": vocabulary, "max_position_embeddings": 24},
        "width": 48,
    }


@pytest.fixture(scope="session")
def coca_json(tokenizer):
    """`model_cfg` of an open_clip CoCa of one layer in each of its three parts."""
    text = {
        "context_length": 16,
        "vocab_size": tokenizer.get_vocab_size(),
        "width": 32,
        "heads": 2,
        "layers": 1,
    }
    return {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 64,
            "patch_size": 32,
            "width": 32,
            "head_width": 16,
            "layers": 1,
            "attentional_pool": True,
            "attn_pooler_queries": 5,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": text | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": text | {"attn_pooler_heads": 2},
        "custom_text": True,
    }


@pytest.fixture(scope="session")
def calibration():
    """Color is always answered, pattern never, style where the classifier is sure.

    No two sets of modalities are calibrated alike.
    """
    reached = {"color": (0.0,) * 3, "pattern": (None,) * 3, "style": (0.52, 0.53, 0.51)}
    return Calibration(
        attributes={
            attribute: {
                modalities: CalibratedModalities(
                    temperature=temperature,
                    thresholds=alike(threshold, threshold),
                    rows=100,
                )
                for modalities, temperature, threshold in zip(
                    Modalities, (0.5, 1.0, 2.0), thresholds, strict=True
                )
            }
            for attribute, thresholds in reached.items()
        }
    )


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory, tokenizer, calibration):
    """Returns a function that writes a checkpoint folder of a random classifier."""

    def make(config):
        torch.manual_seed(0)
        classifier = build_classifier(config, tokenizer.get_vocab_size())
        folder = tmp_path_factory.mktemp("checkpoints") / config.name
        save_checkpoint(folder, classifier, tokenizer, calibration, {"made": "up"}, "# tiny\n")
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint, small_config):
    """A checkpoint folder of a random classifier; tests copy it before they change it."""
    return make_checkpoint(small_config)


@pytest.fixture(scope="session")
def write_jpeg():
    """Returns a function that writes a picture of noise around one color."""

    def write(path, color=(200, 30, 30), side=90):
        noise = np.random.default_rng(0).integers(-25, 25, (side, side, 3))
        pixels = np.clip(noise + np.array(color), 0, 255).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, "JPEG")
        return path

    return write
