"""Models in each layout that hubs have: read as their library does, trained and run."""

import json
import shutil
import string
from typing import Any

import open_clip
import pandas as pd
import pytest
import torch
from open_clip.push_to_hf_hub import save_for_hf
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from enrich.classifiers.interface import Classifier
from enrich.classifiers.manifest import read_manifest
from enrich.classifiers.towers import TextEncoder
from enrich.engine.spec import open_engine
from enrich.records import Product, Status
from enrich.training.config import TrainingConfig
from enrich.training.preparation import start_classifier
from enrich.training.run import train_checkpoint

WORDS, LONGEST = 300, 16
LAYER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
TEXTS = ["A Red_Shirt!", "blue  shoes, for men's feet"]
# Towers of timm as FashionSigLIP, MobileCLIP and EVA have them, on its smallest models.
OPEN_CLIP = {
    "timm siglip": (
        {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        {"no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        96,
    ),
    "timm mobileclip": (
        {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": None},
        {"no_causal_mask": True},
        40,
    ),
    "eva": (
        {"timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "timm_proj": None},
        {},
        40,
    ),
    "vit with a projection": (
        {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"},
        {},
        40,
    ),
    "resnet that attends": ({"layers": [1, 1, 1, 1], "width": 8, "head_width": 32}, {}, 40),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory, published_tokenizer):
    """Return a function that saves a random model in a layout, and returns its folder."""
    folder = tmp_path_factory.mktemp("hub")

    def save(kind):
        place = folder / kind.replace(" ", "-")
        if not place.exists():
            torch.manual_seed(5)
            if kind in OPEN_CLIP:
                _save_open_clip(place, kind, published_tokenizer)
            else:
                _build(kind).save_pretrained(place)
                tokenizer = _spell() if kind == "siglip2" else published_tokenizer
                tokenizer.save_pretrained(place)
                if kind.startswith("siglip"):
                    SiglipImageProcessor(size={"height": 64, "width": 64}).save_pretrained(place)
        return place

    return save


def _spell():
    """Return a tokenizer of SigLIP 2's kind, whose tokens are letters."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words = [*special, *string.printable[:95], "\u2581"]
    ends = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    return Siglip2Tokenizer(vocab={word: at for at, word in enumerate(words)}, **ends)


def _build(kind):
    text = LAYER | {"vocab_size": WORDS, "max_position_embeddings": LONGEST}
    vision = LAYER | {"patch_size": 16}
    if kind.startswith("siglip"):
        return SiglipModel(
            SiglipConfig(text_config=text, vision_config=vision | {"image_size": 64})
        )
    return BertModel(BertConfig(**text))


def _save_open_clip(place, kind, tokenizer):
    vision, text, width = OPEN_CLIP[kind]
    settings = {
        "embed_dim": width,
        "vision_cfg": {"image_size": 160 if kind == "timm siglip" else 224, **vision},
        "text_cfg": {
            **{"context_length": LONGEST, "vocab_size": WORDS, "width": 32, "heads": 2},
            **{"layers": 1, "hf_tokenizer_name": "somebody/their-tokenizer"},
            **{"tokenizer_kwargs": {"clean": "canonicalize"}, **text},
        },
        "custom_text": True,
    }
    model = open_clip.CustomTextCLIP(
        **{key: value for key, value in settings.items() if key != "custom_text"}
    )
    model.visual.image_mean, model.visual.image_std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    save_for_hf(model, tokenizer, settings, str(place), safe_serialization=True)
    tokenizer.save_pretrained(place)


def _start(towers, folder, **changes):
    config = _config(towers, classifier="clip_zero_shot", **changes)
    classifier, tokenizer = start_classifier(config, [], folder)
    return classifier.eval(), TextEncoder(tokenizer, config.text_length)


def _config(towers, **changes):
    settings = {
        "name": "tiny",
        "towers": towers,
        "text_length": LONGEST,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "phases": [
            {
                "loss": "contrastive",
                "epochs": 1,
                "learning_rate": 1e-3,
                "tower_learning_rate": 1e-4,
            },
            {"loss": "multitask", "epochs": 1, "learning_rate": 1e-3},
        ],
    }
    return TrainingConfig.model_validate(settings | changes)


@torch.inference_mode()
def _assert_embeds(
    classifier: Classifier, encoder: TextEncoder, pixels: Tensor, image: Tensor, text: Tensor
) -> None:
    tower = classifier.image_tower
    seen = tower.embed(tower.features(pixels))
    read = classifier.text_tower(*encoder(TEXTS))
    torch.testing.assert_close(seen.pooled, image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(read.pooled, text, rtol=1e-4, atol=1e-4)
    assert seen.embeds.shape[2] == read.embeds.shape[2] == classifier.image_tower.width
    assert not tower.grid or seen.embeds.shape[1] == 1 + tower.grid**2


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
@torch.inference_mode()
def test_both_halves_of_a_siglip_embed_as_transformers_does(hub, tmp_path, kind):
    folder = hub(kind)
    classifier, encoder = _start(str(folder), tmp_path)
    theirs = AutoModel.from_pretrained(folder).eval()
    pixels = torch.randn(2, 3, 64, 64)
    # SigLIP was trained on texts without capitals and punctuation, SigLIP 2 without capitals.
    clean = ["a red shirt", "blue shoes for mens feet"]
    if kind == "siglip2":
        clean = [text.lower() for text in TEXTS]
    tokens = AutoTokenizer.from_pretrained(folder)(
        clean, padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt"
    )
    wanted_text = theirs.get_text_features(input_ids=tokens["input_ids"]).pooler_output
    wanted_image = theirs.get_image_features(pixel_values=pixels).pooler_output
    _assert_embeds(classifier, encoder, pixels, wanted_image, wanted_text)
    assert classifier.config.image.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", OPEN_CLIP)
@torch.inference_mode()
def test_a_model_of_open_clip_embeds_as_open_clip_does(hub, tmp_path, kind):
    folder = hub(kind)
    classifier, encoder = _start(f"open_clip:{folder}", tmp_path)
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    theirs = theirs.eval()
    size = classifier.config.image.size_px
    pixels = torch.randn(2, 3, size, size)
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    if classifier.text_tower.text.pool_type == "argmax":
        # This tokenizer's end of text has not the highest id, by which open_clip looks for it.
        theirs.text.pool_type, theirs.text.eos_id = "eos", 2
        classifier.text_tower.text.pool_type, classifier.text_tower.text.eos_id = "eos", 2
    _assert_embeds(
        classifier, encoder, pixels, theirs.encode_image(pixels), theirs.encode_text(ids)
    )
    assert classifier.config.image.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@torch.inference_mode()
def test_a_bert_beside_the_small_image_tower_keeps_its_published_pooling(hub, tmp_path, pooling):
    folder = shutil.copytree(hub("bert"), tmp_path / "bert")
    if pooling == "mean":
        (folder / "1_Pooling").mkdir()
        # As sentence-transformers writes it for a MiniLM.
        settings = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    towers = {"vision": "small", "text": str(folder), "width": 24}
    classifier, encoder = _start(towers, tmp_path, image_size_px=64, joint_heads=2)
    ids, mask = encoder(TEXTS)
    hidden = BertModel.from_pretrained(folder).eval()(ids, mask.long()).last_hidden_state
    wanted = hidden[:, 0]
    if pooling == "mean":
        wanted = (hidden * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
    found = classifier.text_tower(ids, mask).pooled
    torch.testing.assert_close(found, classifier.text_tower.projection(wanted))
    pixels = torch.randn(2, 3, 64, 64)
    tower = classifier.image_tower
    assert tower.embed(tower.features(pixels)).pooled.shape == (2, 24)


@pytest.mark.parametrize("kind", ["siglip2", "bert", "timm mobileclip"])
def test_towers_of_each_layout_are_trained_and_run_by_the_engine(hub, catalog, tmp_path, kind):
    """Remove the published folder before the checkpoint is run: it must not be asked for."""
    folder = shutil.copytree(hub(kind), tmp_path / "published")
    towers: str | dict[str, Any] = str(folder)
    if kind == "bert":
        towers = {"vision": "small", "text": towers, "width": 24}
    elif kind in OPEN_CLIP:
        towers = f"open_clip:{folder}"
    config = _config(towers, image_size_px=64)
    train_checkpoint(config, [catalog], tmp_path / "made")
    shutil.rmtree(folder)
    engine = open_engine(read_manifest(tmp_path / "made"), str(catalog))
    rows = pd.read_parquet(catalog / "products.parquet").head(3)
    answers = list(engine.enrich(Product(*row) for row in rows.to_numpy()))
    assert {answer.status for answer in answers} == {Status.OK}
