"""Pictures and texts vary, and keep what they show and say."""

import numpy as np
import pytest
import torch

from enrich.lexicon import Lexicon
from enrich.text import build_text
from enrich.training.augmentation import LabelWords, vary
from enrich.training.batches import other_group
from schemas.labels import ATTRIBUTE_LABELS, LABEL_WORDS


def _disc(color):
    """One white picture of 64 px with a disc of one color left of its middle."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside = (rows - 32) ** 2 + (columns - 24) ** 2 < 12**2
    return torch.where(inside, torch.tensor(color).view(3, 1, 1), 255).to(torch.uint8)


def _vary(picture, count, seed=0):
    return vary(picture.expand(count, -1, -1, -1), torch.Generator().manual_seed(seed))


def test_pictures_are_mirrored_and_moved_and_keep_their_color():
    varied = _vary(_disc((180, 40, 60)), 40)
    assert varied.dtype == torch.uint8 and varied.shape == (40, 3, 64, 64)
    on_the_right = 0
    for picture in varied.float():
        # Not by darkness: a backdrop may be as dark as the product.
        inside = picture[0] > picture[1] + 80
        assert 150 < inside.sum() < 1000, "the product stays in view, at about its size"
        red, green, blue = (picture[channel][inside].mean() for channel in range(3))
        assert red > green + 100 and red > blue + 60
        on_the_right += int(inside.nonzero()[:, 1].float().mean() > 32)
    assert 8 < on_the_right < 32


def test_what_comes_into_view_from_outside_is_white():
    # 240 is not white enough for another backdrop; the light varies by less than 40.
    plain = torch.full((3, 32, 32), 240, dtype=torch.uint8)
    assert _vary(plain, 40)[:, :, 0, 0].min() > 200


def test_another_backdrop_keeps_the_white_within_products():
    ring = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    ring[:, 20:44, 20:44] = 60
    ring[:, 26:38, 26:38] = 255
    varied = _vary(ring, 60).float().mean(1)
    around, within = varied[:, 32, 6], varied[:, 22:42, 22:42].amax((1, 2))
    darker = around < within - 15
    assert 10 < darker.sum() < 30
    assert within.min() > 210, "the product is as it was"
    assert around[darker].min() > 120, "a light backdrop"


def test_a_bright_color_is_no_backdrop():
    yellow = torch.tensor([250, 250, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32)
    # Darkened by at most the variation of the light.
    assert _vary(yellow, 40)[:, :2, 12:20, 12:20].min() > 215


def test_one_seed_varies_pictures_in_one_way():
    first, again, other = (_vary(_disc((10, 200, 30)), 8, seed) for seed in (3, 3, 4))
    assert first.equal(again) and not first.equal(other)


@pytest.mark.parametrize(
    ("sizes", "partners"),
    [([1] * 50, 50), ([7, 1, 3, 9, 2, 2], 24), ([5, 5], 10), ([3, 1, 1, 1], 6), ([3, 1], 2)],
)
def test_products_are_paired_with_other_groups_as_far_as_there_are(sizes, partners):
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    partner, is_other = other_group(groups)
    assert sorted(partner) == list(range(len(groups)))
    assert is_other.sum() == partners and ((groups[partner] != groups) == is_other).all()


def _kinds(*labels):
    return LabelWords({"kind": labels}, Lexicon({}))


OURS = LabelWords(ATTRIBUTE_LABELS, Lexicon.of_labels(LABEL_WORDS))
COCOA = Lexicon.of_labels({"color": {"brown": ("chocolate",)}})


@pytest.mark.parametrize(
    ("words", "text", "left"),
    [
        (OURS, "Red shirt", "shirt"),
        (OURS, "shirt in SEA GREEN, slim", "shirt in, slim"),
        (OURS, "Nike Men Black, Off White and Navy-Blue Striped Shirt", "Nike Men Shirt"),
        (OURS, "a shirt. Red", "a shirt."),
        (OURS, "a smart casual shirt", "a shirt"),
        (OURS, "tired hundred redder", "tired hundred redder"),
        (OURS, "navy-blue", ""),
        (OURS, "pinstripes and Off White", "pinstripes and"),
        (_kinds("红色"), "红色连衣裙", "连衣裙"),
        (_kinds("赤"), "赤いドレス", "いドレス"),
        (_kinds("สีแดง"), "เสื้อสีแดงสวย", "เสื้อสวย"),
        (_kinds("rot"), "brot rot", "brot"),
        (_kinds("red红"), "tired红 red红包", "tired红 包"),
        (_kinds("c++"), "c++ book", "book"),
        (_kinds("100%"), "100% cotton 1100%", "cotton 1100%"),
        # An empty label is no word, and the longer of two words goes first.
        (_kinds("", "red"), "a red hat", "a hat"),
        (_kinds("rose", "rose gold"), "rose gold ring", "ring"),
        # Words of an attribute that is not asked for stay.
        (LabelWords({"dish": ("pie",)}, COCOA), "Chocolate mousse, pie", "Chocolate mousse,"),
    ],
)
def test_only_whole_label_words_are_removed(words, text, left):
    assert words.remove(text) == left


@pytest.mark.parametrize(
    "label", ["½ zip", "GORE-TEX™", "black &amp; white", "off  white", " Red ", "gru\u0308n"]
)
def test_a_label_is_found_as_texts_write_it(label):
    words = _kinds(label, "blue")
    assert words.remove(build_text(f"shirt {label} cotton", None)) == "shirt cotton"
    assert words.rename("a blue shirt", "kind", 1, 0) == build_text(f"a {label} shirt", None)
    assert words.rename(build_text(f"a {label} shirt", None), "kind", 0, 1) == "a blue shirt"
