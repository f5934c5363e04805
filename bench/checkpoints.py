"""Checkpoints of CLIP's sizes with random weights: as fast as trained ones, made offline."""

from pathlib import Path
from typing import Any

import torch

from bench.shop import word_texts
from enrich.calibration import (
    TARGET_PRECISIONS,
    CalibratedModalities,
    Calibration,
    EvidenceThresholds,
)
from enrich.classifiers.checkpoint import build_classifier, save_checkpoint
from enrich.classifiers.config import ClassifierConfig, HuggingFaceTowers
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.images.settings import ImageShape
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.training.preparation import train_tokenizer
from enrich.training.pretrained import OPENAI_MEAN, OPENAI_STD

_BASE_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
_LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
_LARGE_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
# The sizes of the published CLIPs of these names, where they are not transformers' defaults.
CLIPS: dict[str, dict[str, Any]] = {
    "vit-b-32": {"text": _BASE_TEXT, "vision": {"patch_size": 32}, "width": 512},
    "vit-b-16": {"text": _BASE_TEXT, "vision": {"patch_size": 16}, "width": 512},
    "vit-l-14": {"text": _LARGE_TEXT, "vision": _LARGE_VISION | {"patch_size": 14}, "width": 768},
}
_TEXT_LENGTH = 77
_SIZE_PX = 224


def write_clip_checkpoint(folder: Path, name: str) -> Path:
    """Writes a CMA-CLIP on the CLIP of that name in CLIPS; one that is there is kept."""
    if (folder / "MODEL_CARD.md").exists():
        return folder
    config = _configure(name)
    texts = [". ".join(word_texts(number, seed=1)) for number in range(2_000)]
    tokenizer = train_tokenizer(texts, vocabulary=8_000)
    torch.manual_seed(0)
    classifier = build_classifier(config, tokenizer.get_vocab_size())
    card = f"# {name}\n\nRandom weights, for measuring speed only.\n"
    save_checkpoint(folder, classifier, tokenizer, _calibrate(config), {}, card)
    return folder


def _configure(name: str) -> ClassifierConfig:
    sizes = CLIPS[name]
    width = sizes["width"]
    clip = {
        "text_config": sizes["text"] | {"projection_dim": width},
        "vision_config": sizes["vision"] | {"projection_dim": width, "image_size": _SIZE_PX},
        "projection_dim": width,
    }
    return ClassifierConfig(
        name=name,
        towers=HuggingFaceTowers(model=clip),
        image=ImageShape(size_px=_SIZE_PX, fit="crop", mean=OPENAI_MEAN, std=OPENAI_STD),
        text_length=_TEXT_LENGTH,
        attributes=read_manifest(BUNDLED).config.attributes,
        joint_heads=8,
    )


def _calibrate(config: ClassifierConfig) -> Calibration:
    every: EvidenceThresholds = dict.fromkeys(Evidence, 0.5)
    thresholds = {f"{p:.2f}": every for p in TARGET_PRECISIONS}
    neutral = CalibratedModalities(temperature=1.0, thresholds=thresholds, rows=0)
    return Calibration(
        attributes={a: dict.fromkeys(Modalities, neutral) for a in config.attributes}
    )
