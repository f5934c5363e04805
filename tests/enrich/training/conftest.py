"""Trainers of colored squares, and a catalog and a CLIP for runs from end to end."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from colored_shop import write_colored_shop
from labelled import labelled_products, write_table
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.towers import TextEncoder
from enrich.images.settings import ImageShape
from enrich.lexicon import Lexicon
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches
from enrich.training.caches import CachedImages, cache_pixels
from enrich.training.config import TrainingConfig
from enrich.training.loop import Trainer
from enrich.training.preparation import train_tokenizer

COUNT = 40
COLORS = ("red", "green", "blue", "white")


@pytest.fixture(scope="session", autouse=True)
def _offline():
    """No test may ask a hub for weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture
def make(small_config, tokenizer, tmp_path):
    """Return a function that builds a trainer of colored squares, always from the same start."""
    labels = np.arange(COUNT) % len(COLORS)
    shades = np.array([(220, 20, 20), (20, 220, 20), (20, 20, 220), (240, 240, 240)])
    noise = np.random.default_rng(0).integers(-15, 15, (COUNT, 3, 64, 64))
    pixels = np.clip(shades[labels][:, :, None, None] + noise, 0, 255).astype(np.uint8)
    targets = np.stack([labels, labels % 3, labels % 2], axis=1)
    texts = [f"a {COLORS[label]} shirt" for label in labels]
    products = labelled_products(texts, targets=targets)
    words = LabelWords({"color": COLORS}, Lexicon({}))

    def make(folder, *phases, **settings):
        (tmp_path / folder).mkdir(exist_ok=True)
        images = CachedImages(pixels, np.ones(COUNT, dtype=bool), tmp_path / folder)
        batches = Batches(products, images, TextEncoder(tokenizer, 16), words)
        config = TrainingConfig(name="tiny", batch_size=8, phases=phases, **settings)
        torch.manual_seed(7)
        classifier = build_classifier(small_config, tokenizer.get_vocab_size())
        rows = np.arange(COUNT)
        return Trainer(classifier, batches, config, rows[:32], rows[32:], tmp_path / folder)

    return make


@pytest.fixture
def cache(tmp_path, write_jpeg):
    """Return a function that caches the pictures of those paths: two are there, one is damaged."""
    write_jpeg(tmp_path / "red.jpg", (220, 20, 20))
    write_jpeg(tmp_path / "blue.jpg", (20, 20, 220))
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    shape = ImageShape(size_px=64, fit="pad", mean=(0, 0, 0), std=(1, 1, 1))

    def cache(*paths):
        products = labelled_products(["a"] * len(paths), str(tmp_path), image_paths=list(paths))
        return cache_pixels(products, shape, tmp_path / "cache")

    return cache


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "catalog"
    write_colored_shop(folder, 40, seed=4)
    return folder


@pytest.fixture(scope="session")
def published_tokenizer(catalog):
    """A tokenizer of the catalog's titles, as a hub has one beside its model."""
    tokenizer = train_tokenizer(pd.read_parquet(catalog / "products.parquet")["title"], 300)
    special = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory, published_tokenizer, clip_json):
    """A Hugging Face CLIP as one finds it on a hub, with random weights."""
    folder = tmp_path_factory.mktemp("hub") / "clip"
    published_tokenizer.save_pretrained(folder)
    text = clip_json["text_config"] | {"vocab_size": 300}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig.from_dict(clip_json | {"text_config": text})).save_pretrained(folder)
    square = {"height": 64, "width": 64}
    CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=square).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def settings(clip_folder):
    """A configuration with every kind of phase and all that is random in training."""
    return {
        "name": "clip-tiny",
        "towers": str(clip_folder),
        "text_length": 16,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "accumulate": 2,
        "ema": 0.9,
        "phases": [
            {"loss": "multitask", "epochs": 1, "learning_rate": 1e-3},
            {"loss": "multitask", "epochs": 1, "learning_rate": 1e-3, "tower_learning_rate": 1e-4},
        ],
    }


@pytest.fixture
def copied_clip(clip_folder, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(clip_folder, tmp_path / "copied"))


FOODS = {"apple pie": (200, 150, 60), "beet salad": (130, 20, 70)}


@pytest.fixture(scope="session")
def foods(tmp_path_factory, write_jpeg):
    """A table of two dishes: 30 pictures each to train on, 5 to test; one is missing."""
    root = tmp_path_factory.mktemp("data")
    lines = ["title,picture,dish,part"]
    for part, count in (("train", 30), ("test", 5)):
        for name, color in FOODS.items():
            for number in range(count):
                image = f"{part}-{name}-{number}.jpg"
                if (part, name, number) != ("train", "beet salad", 0):
                    write_jpeg(root / image, color, side=40)
                lines.append(f'"{name} no. {number}, the best",{image},{name},{part}')
    described = {"image_path": "picture", "labels": {"class": "dish"}, "split": "part"}
    return write_table(root, "\n".join(lines), "foods", **described)
