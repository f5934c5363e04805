"""A pattern can be seen on its cloth and leaves most of it in the labelled color."""

import numpy as np
import pytest

from enrich.demo.fabrics.cloth import PATTERNS, weave_cloth
from enrich.demo.fabrics.shades import SHADES
from schemas.labels import ATTRIBUTE_LABELS


def test_every_color_but_multi_has_shades() -> None:
    assert set(SHADES) == set(ATTRIBUTE_LABELS["color"]) - {"multi"}


@pytest.mark.parametrize("pattern", sorted({*PATTERNS} - {"washed"}))
def test_no_other_color_of_a_pattern_covers_more_than_the_labelled(pattern: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cloth = weave_cloth("red", pattern, side=200, unit=90, is_top=True, rng=rng)
        # A product reaches from -1 to 1: what the canvas holds beyond is cut away.
        pixels = np.asarray(cloth.texture, dtype=float)[10:-10, 10:-10]
        redness = pixels[..., 0] - pixels[..., 1:].max(axis=-1)
        assert (redness > 25).mean() > 0.5, seed


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_a_pattern_can_be_seen_on_every_color(pattern: str) -> None:
    for color in SHADES:
        rng = np.random.default_rng(5)
        cloth = weave_cloth(color, pattern, side=160, unit=70, is_top=False, rng=rng)
        contrast = np.asarray(cloth.texture.convert("L"), dtype=float).std()
        assert contrast > 5, (color, contrast)
