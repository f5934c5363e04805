"""Classifiers of random weights, and three products that have all of what a product can have."""

import pytest
import torch

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.towers import TextEncoder

PRODUCTS = ["a red striped shirt for the office", "blue shoes", "white cotton shirt"]


@pytest.fixture(scope="module")
def products(tokenizer, small_config):
    """Three rows with image and text, of different lengths of text."""
    ids, mask = TextEncoder(tokenizer, small_config.text_length)(PRODUCTS)
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randint(0, 256, (3, 3, 64, 64), generator=generator, dtype=torch.uint8)
    here = torch.ones(3, dtype=torch.bool)
    return ModelInputs(ids, mask, here, here.clone(), pixel_values=pixels)


@pytest.fixture(scope="module")
def build(small_config, tokenizer):
    """Return a function that builds a classifier by name, with changes to the configuration."""

    def build(name, **changes):
        torch.manual_seed(3)
        config = small_config.model_copy(update={"classifier": name, "dropout": 0.0, **changes})
        return build_classifier(config, tokenizer.get_vocab_size()).eval()

    return build
