"""A drawing shows its cloth's color and stays on its canvas."""

import numpy as np
import pytest

from enrich.demo.articles import ARTICLES
from enrich.demo.drawings.repertoire import DRAWINGS, draw_product, reach_of
from enrich.demo.fabrics.cloth import weave_cloth
from enrich.demo.fabrics.shades import SHADES


def test_all_that_can_be_drawn_is_sold() -> None:
    assert set(DRAWINGS) == {article.drawing for article in ARTICLES}


@pytest.mark.parametrize("color", sorted(SHADES))
def test_a_plain_product_has_its_labelled_color(color: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        reach = reach_of("sweater", is_worn=False)
        cloth = weave_cloth(color, "solid", side=160, unit=80 / reach, is_top=False, rng=rng)
        pixels, alpha = draw_product("sweater", cloth, unit=80 / reach, is_worn=False, rng=rng)
        seen = np.median(np.asarray(pixels)[np.asarray(alpha) > 0], axis=0)
        distance = {
            label: min(np.abs(seen - shade).max() for _, shade in family)
            for label, family in SHADES.items()
        }
        # Neighbours such as brown and bronze are a matter of sheen, so the nearest need not win.
        assert distance[color] < 40 and distance[color] <= min(distance.values()) + 20, distance


@pytest.mark.parametrize("kind", sorted(DRAWINGS))
def test_every_drawing_stays_on_its_canvas(kind: str) -> None:
    rng = np.random.default_rng(0)
    reach = reach_of(kind, is_worn=False)
    cloth = weave_cloth("blue", None, side=160, unit=80 / reach, is_top=False, rng=rng)
    pixels, alpha = draw_product(kind, cloth, unit=80 / reach, is_worn=False, rng=rng)
    assert pixels.size == alpha.size
    assert 70 < max(pixels.size) < 160
