"""Features on disk are those of the tower and of the pictures that are asked about."""

import copy
from collections.abc import Callable

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.eight_bits import use_eight_bits
from enrich.classifiers.registry import build_classifier
from enrich.training.pixel_cache import CachedImages
from enrich.training.view_cache import cache_views

Cache = Callable[..., CachedImages]


def test_features_of_pictures_that_were_missing_are_not_those_of_pictures_that_came(
    cache: Cache, small_config: ClassifierConfig, tokenizer: Tokenizer
) -> None:
    classifier = build_classifier(small_config, tokenizer.get_vocab_size())
    images = cache("red.jpg", "blue.jpg")
    blank = np.zeros_like(images.pixels)
    missing = CachedImages(blank, np.array([False, False]), images.folder, images.pictures)
    found = [
        cache_views(classifier, one, "image_features", 1).views[0] for one in (missing, images)
    ]
    assert not np.array_equal(*found)


def test_features_of_towers_in_eight_bits_that_differ_in_one_layer_are_not_the_same(
    cache: Cache, clip_config: ClassifierConfig, tokenizer: Tokenizer
) -> None:
    one = build_classifier(clip_config, tokenizer.get_vocab_size())
    other = copy.deepcopy(one)
    layer = next(part for part in other.image_tower.modules() if type(part) is nn.Linear)
    # As whole numbers of eight bits the weights stay what they were.
    layer.weight.data *= 2
    images = cache("red.jpg", "blue.jpg")
    found = []
    for classifier in (one, other):
        use_eight_bits(classifier.image_tower)
        found.append(cache_views(classifier, images, "image_features", 1).views[0])
    assert not np.array_equal(*found)


def test_features_that_were_cut_short_are_made_anew(
    cache: Cache, small_config: ClassifierConfig, tokenizer: Tokenizer
) -> None:
    classifier, images = (
        build_classifier(small_config, tokenizer.get_vocab_size()),
        cache("red.jpg", "blue.jpg"),
    )

    def make() -> np.ndarray:
        return np.array(cache_views(classifier, images, "image_features", 1).views[0])

    first = make()
    (file,) = images.folder.glob("image_features-*.npy")
    file.write_bytes(file.read_bytes()[:-1])
    assert np.array_equal(make(), first)
