"""A single stream reads every patch beside every word from its first layer on."""

from collections.abc import Callable
from typing import Any

import torch

from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.single_stream import SingleStream


def test_words_and_patches_enter_the_first_layer_together(
    build: Callable[..., SingleStream], products: ModelInputs
) -> None:
    classifier = build("single_stream")
    entered: list[tuple[Any, ...]] = []
    classifier.text_tower.transformer.register_forward_pre_hook(
        lambda _, given: entered.append(given)
    )
    with torch.inference_mode():
        classifier.stream.segments.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 32))
        classifier(products)
        words = classifier.text_tower.tokens(products.token_ids)
        patches = classifier.stream.from_image(classifier.encode_image(products).embeds[:, 1:])
        tower = classifier.text_tower
        length, last = words.shape[1], classifier.config.text_length - 1
        words[:, 0] = classifier.stream.marks[0]
        wanted = [words + 1 + tower.positions[:length], patches - 1 + tower.positions[last]]
    # Once, for both: no layer reads the text alone.
    (given,) = entered
    torch.testing.assert_close(given[0], torch.cat(wanted, dim=1))
