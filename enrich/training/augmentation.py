"""Random changes of pictures and texts for training.

Color, pattern and style of a picture stay what they are. Changed texts keep a classifier from
reading the answer off the title. How likely a change is, `enrich.training.batches` decides.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from enrich.errors import ConfigError, first_line, load_extra
from enrich.lexicon import Lexicon, match_any
from enrich.text import normalise
from enrich.training.labelled import UNLABELLED

_SCALE = math.log(1.4)
_STRETCH = 0.1
_TURN_RADIANS = 0.12
_SHIFT = 0.2  # of half the picture
_BRIGHTNESS = 0.1
_GAMMA = 0.15
_BACKDROP_SHARE = 0.4
_DARKEST_BACKDROP = 0.45
_TINT = 0.1
_PLAIN_WHITE = 244 / 255
_BLURRED_SHARE = 0.25
_BLURRED_PX = 72  # the height of many thumbnails

_WORD = re.compile(r"\w+")
# Marks a removed label word; texts lack this character.
_MARK = "\0"
# Marks in a row and what joins them, as in "red, green and blue".
_SEVERAL = rf"{_MARK}(?:\W+(?:and\W+)?{_MARK})*"
# With the blanks on one side; those on the other side keep the words around apart.
_MARKED = re.compile(rf"\s+{_SEVERAL}(?!\w)|{_SEVERAL}\s*")


def vary(pixels: UInt8[Tensor, "B 3 S S"], random: torch.Generator) -> UInt8[Tensor, "B 3 S S"]:
    """Vary position, light, sharpness and backdrop of each picture at random.

    A picture is mirrored, scaled, turned and shifted. Some pictures get another backdrop than plain
    white. Pixels from outside a picture are white, as the padding of `to_pixels` is.
    """
    scaled = pixels.float() / 255
    elsewhere = torch.rand(len(pixels), generator=random) < _BACKDROP_SHARE
    scaled[elsewhere] *= _backdrops(scaled[elsewhere], random)
    grid = F.affine_grid(_placements(len(pixels), random), list(pixels.shape), align_corners=False)
    moved = 1 - F.grid_sample(1 - scaled, grid, align_corners=False, padding_mode="zeros")
    brightness = (1 + _draw(len(pixels), _BRIGHTNESS, random)).view(-1, 1, 1, 1)
    gamma = _draw(len(pixels), _GAMMA, random).exp().view(-1, 1, 1, 1)
    lit = (moved.clamp(1e-4, 1) ** gamma * brightness).clamp(0, 1)
    blurred = torch.rand(len(pixels), generator=random) < _BLURRED_SHARE
    if blurred.any():
        lit[blurred] = _blur(lit[blurred])
    return (lit * 255).round().to(torch.uint8)


def build_transform(
    listed: Sequence[Mapping[str, Mapping[str, Any]]],
) -> Callable[[Tensor], Tensor]:
    """Return the listed transforms of torchvision as a function of a batch.

    Each picture is changed in its own way, on the device that it is on. `listed` has transforms of
    `torchvision.transforms.v2` by name, with their arguments. Raises ConfigError where torchvision
    is not installed, lacks a transform, or refuses its arguments.
    """
    v2 = load_extra("torchvision.transforms.v2", "train")
    steps = []
    for name, arguments in ((n, a) for one in listed for n, a in one.items()):
        kind = getattr(v2, name, None)
        if not (isinstance(kind, type) and issubclass(kind, v2.Transform)):
            raise ConfigError(
                f"augmentation names an unknown transform: found {name}, expected one of "
                "torchvision.transforms.v2, such as RandomHorizontalFlip."
            )
        try:
            steps.append(kind(**arguments))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"augmentation: {name} is wrong: {first_line(error)}") from error
    change = v2.Compose(steps)
    return lambda pixels: torch.stack([change(picture) for picture in pixels])


def _draw(count: int, most: float, random: torch.Generator) -> Float[Tensor, " B"]:
    """Draw `count` numbers between -`most` and `most`."""
    return (2 * torch.rand(count, generator=random) - 1) * most


def _placements(count: int, random: torch.Generator) -> Float[Tensor, "B 2 3"]:
    """Draw affine maps of the square [-1, 1], from output to input pixels."""
    scale = _draw(count, _SCALE, random).exp()
    stretch = _draw(count, _STRETCH, random).exp()
    turn = _draw(count, _TURN_RADIANS, random)
    mirror = torch.randint(0, 2, (count,), generator=random) * 2 - 1
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0] = turn.cos() / scale * stretch * mirror
    maps[:, 0, 1] = -turn.sin() / scale
    maps[:, 1, 0] = turn.sin() / scale * mirror
    maps[:, 1, 1] = turn.cos() / scale / stretch
    maps[:, 0, 2], maps[:, 1, 2] = (_draw(count, _SHIFT, random) for _ in range(2))
    return maps


def _backdrops(
    pixels: Float[Tensor, "B 3 S S"], random: torch.Generator
) -> Float[Tensor, "B 3 S S"]:
    """Return factors for pictures: a light backdrop for plain white, else 1."""
    white = (pixels.amin(1) >= _PLAIN_WHITE).float()
    # The backdrop is white all the way to an edge of the picture, along its row or its column. A
    # white product is hardly ever that white, and hardly ever touches an edge.
    around = torch.stack(
        [
            line
            for axis in (1, 2)
            for line in (white.cumprod(axis), white.flip(axis).cumprod(axis).flip(axis))
        ]
    ).amax(0)
    # The soft change from product to backdrop stays soft.
    around = F.avg_pool2d(around.unsqueeze(1), 3, stride=1, padding=1, count_include_pad=False)
    ends = torch.empty(2, len(pixels), 1, 1, 1).uniform_(_DARKEST_BACKDROP, 1, generator=random)
    tint = torch.empty(len(pixels), 3, 1, 1).uniform_(-_TINT, _TINT, generator=random)
    height = torch.linspace(0, 1, pixels.shape[2]).view(1, 1, -1, 1)
    backdrop = (torch.lerp(ends[0], ends[1], height) + tint).clamp(0, 1)
    return 1 - around * (1 - backdrop)


def _blur(pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    small = F.interpolate(pixels, size=_BLURRED_PX, mode="bilinear", antialias=True)
    return F.interpolate(small, size=pixels.shape[-1], mode="bicubic").clamp(0, 1)


class LabelWords:
    """Words that name labels in texts, to be removed or changed.

    Texts are as `build_text` writes them.
    """

    def __init__(self, attributes: dict[str, tuple[str, ...]], lexicon: Lexicon) -> None:
        words = {label for labels in attributes.values() for label in labels}
        for attribute in attributes:
            words.update(lexicon.root.get(attribute, {}))
        known = lexicon.root.items()
        self.lexicon = Lexicon({a: words for a, words in known if a in attributes})
        self.attributes = tuple(attributes)
        self._names = {
            attribute: [*map(normalise, labels)] for attribute, labels in attributes.items()
        }
        self._pattern = match_any(map(normalise, words))
        told_by = {
            attribute: [
                {
                    normalise(word).casefold()
                    for word in (label, *_words_of(label, lexicon.root.get(attribute, {})))
                }
                for label in labels
            ]
            for attribute, labels in attributes.items()
        }
        uses = Counter(word for labels in told_by.values() for word in set().union(*labels))
        # By attribute and label, the words that are of no other attribute as well.
        self._own = {
            attribute: [{word for word in words if uses[word] == 1} for words in labels]
            for attribute, labels in told_by.items()
        }

    def remove(self, text: str) -> str:
        """Return the text without label words of any attribute.

        Gaps, commas and "and" go with them. Else a classifier could tell these texts from texts of
        sources that never name a label.
        """
        return _MARKED.sub("", self._pattern.sub(_MARK, text))

    def rename(self, text: str, attribute: str, label: int, to: int) -> str:
        """Return the text with the name of label `to` in the place of words of `label`.

        Words of several attributes are neither replaced nor put in, because the product's label of
        the other attribute would become wrong.
        """
        name = self._names[attribute][to]
        own = self._own[attribute][label]
        if name.casefold() not in self._own[attribute][to]:
            return text
        return self._pattern.sub(
            lambda found: name if found[0].casefold() in own else found[0], text
        )

    def find_others(self, text: str) -> list[str]:
        """Return the words of the text other than label words, in order."""
        return [word for gap in self._pattern.split(text) for word in _WORD.findall(gap)]

    def change_others(self, text: str, change: Callable[[str], str]) -> str:
        """Return the text with every word changed other than label words."""
        gaps, labels = self._pattern.split(text), self._pattern.findall(text)
        changed = [_WORD.sub(lambda found: change(found[0]), gap) for gap in gaps]
        return "".join(part for pair in zip_longest(changed, labels, fillvalue="") for part in pair)


def _words_of(label: str, known: Mapping[str, str]) -> list[str]:
    return [word for word, named in known.items() if named.casefold() == label.casefold()]


def swap(
    texts: list[str], groups: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replace chosen texts by texts of other groups in place; return the mask.

    A row without a text stays without one, and its empty text goes to no other row.
    """
    others = rng.permutation(len(texts))
    has_text = np.array([bool(text) for text in texts], dtype=bool)
    swapped = chosen & has_text & has_text[others] & (groups != groups[others])
    own = list(texts)
    for at in np.flatnonzero(swapped):
        texts[at] = own[others[at]]
    return swapped


def reword(
    texts: list[str], label_words: LabelWords, chosen: np.ndarray, rng: np.random.Generator
) -> None:
    """Replace words of chosen texts by unknown words in place, a random share of them.

    An unknown word is a word of the batch with its letters shuffled. Label words stay, so the text
    is still right about its picture, as texts of an unseen source are. Else the classifier would
    learn that a text of unknown words is the text of another product.
    """
    if not chosen.any():
        return
    known = [word for text in texts for word in label_words.find_others(text)]
    for at in np.flatnonzero(chosen):
        share = rng.random()

        def change(word: str, share: float = share) -> str:
            if rng.random() >= share:
                return word
            return "".join(rng.permutation(list(known[rng.integers(len(known))])))

        texts[at] = label_words.change_others(texts[at], change)


def relabel(
    texts: list[str],
    label_words: LabelWords,
    targets: np.ndarray,
    chosen: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Make chosen texts name labels of other rows; return the labels to learn.

    The labels to learn are those that a text names now, else those of `targets`. If a picture seems
    to contradict its own text, the picture is more often misread: a contradiction does not show
    that the text is another product's.
    """
    targets = targets.copy()
    wanted = rng.permutation(targets)
    for at in np.flatnonzero(chosen):
        for column, attribute in enumerate(label_words.attributes):
            old, new = int(targets[at, column]), int(wanted[at, column])
            if UNLABELLED in (old, new) or old == new:
                continue
            renamed = label_words.rename(texts[at], attribute, old, new)
            if renamed != texts[at]:
                texts[at], targets[at, column] = renamed, new
    return targets


def mask(text: str, label_words: LabelWords, *, is_alone: bool) -> str:
    """Return the text without label words.

    A text of label words only becomes empty, unless it `is_alone`, without an image: the row would
    be empty then.
    """
    masked = label_words.remove(text)
    if masked.strip():
        return masked
    return text if is_alone else ""
