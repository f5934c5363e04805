"""MMBT puts three cells of the image before the text."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.mmbt import CELLS, Mmbt
from enrich.classifiers.stream import Segment


@pytest.fixture
def classifier(build: Callable[..., Mmbt]) -> Mmbt:
    return build("mmbt")


def _segments(classifier: Mmbt, inputs: ModelInputs) -> tuple[Segment, Segment]:
    """Returns what the classifier gives to its stream."""
    given: list[tuple[Segment, Segment]] = []
    hook = classifier.stream.register_forward_pre_hook(lambda _, told: given.append(told[1:]))
    with torch.inference_mode():
        classifier(inputs)
    hook.remove()
    return given[0]


def test_the_sequence_is_cls_three_cells_sep_and_the_text(
    classifier: Mmbt, products: ModelInputs
) -> None:
    image, text = _segments(classifier, products)
    rows, length = products.token_ids.shape
    assert CELLS == 3 and image.embeds.shape == (rows, 5, 32)
    cls, sep = classifier.stream.marks
    assert (image.embeds[:, 0] == cls).all() and (image.embeds[:, 4] == sep).all()
    with torch.inference_mode():
        words = classifier.text_tower.tokens(products.token_ids[:, 1:])
    assert text.embeds.equal(words)
    assert image.positions.tolist() == [0, 1, 2, 3, 4]
    assert text.positions.tolist() == list(range(length - 1))


def test_cells_are_the_mapped_means_of_the_image_s_patches_from_top_to_bottom(
    classifier: Mmbt, products: ModelInputs
) -> None:
    image, _ = _segments(classifier, products)
    with torch.inference_mode():
        patches = classifier.encode_image(products).embeds[:, 1:]
        assert patches.shape[1] == 4
        # Four patches in three cells overlap by one.
        means = torch.stack([patches[:, at : at + 2].mean(1) for at in range(3)], dim=1)
        wanted = classifier.stream.from_image(means)
    torch.testing.assert_close(image.embeds[:, 1:4], wanted)


def test_only_the_marks_are_left_of_what_a_row_lacks(
    classifier: Mmbt, products: ModelInputs
) -> None:
    lacking = replace(
        products,
        has_image=torch.tensor([True, False, True]),
        has_text=torch.tensor([True, True, False]),
    )
    image, text = _segments(classifier, lacking)
    assert image.mask.tolist() == [[True] * 5, [True, False, False, False, True], [True] * 5]
    wanted = products.token_mask[:, 1:].clone()
    wanted[2] = False
    assert text.mask.equal(wanted)
