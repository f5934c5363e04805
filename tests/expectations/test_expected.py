"""What a baseline leads to expect of a run with another mix of categories."""

from operator import attrgetter

import numpy as np
import pytest
from drawn_answers import join, make_answers

from expectations.drill.in_arrays import build_baseline, count_answers
from expectations.expected import Expected, expect_like
from expectations.summary import CatalogSummary
from schemas.labels import ABSTAINED


@pytest.fixture(scope="module")
def shop() -> CatalogSummary:
    """1,000 red shoes, of which the classifier is sure, and 3,000 blue shirts."""
    shoes = make_answers(1000, color_shares={"red": 1.0}, sureness=20, category="shoes")
    shirts = make_answers(3000, color_shares={"blue": 1.0}, sureness=2, category="shirts")
    return build_baseline(join(shoes, shirts))


def run_of(category: str | None) -> CatalogSummary:
    summary = count_answers(make_answers(100, category=category)).summary
    assert summary is not None
    return summary


def colors(expected: Expected) -> dict[str, float]:
    shares = expected.shares(lambda group: group.attributes["color"].labels)
    return {label: share for label, share in shares.items() if share}


def test_run_of_one_category_is_expected_to_look_like_it(shop: CatalogSummary) -> None:
    expected = expect_like(shop, run_of("shoes"), min_rows=100)
    assert colors(expected) == {"red": 1.0}
    assert expected.rows == pytest.approx(1000)


@pytest.mark.parametrize(("category", "min_rows"), [("hats", 100), ("shoes", 1001)])
def test_run_of_a_category_hardly_known_to_the_baseline_is_expected_to_look_like_the_whole(
    shop: CatalogSummary, category: str, min_rows: int
) -> None:
    expected = expect_like(shop, run_of(category), min_rows)
    assert colors(expected) == {"red": 0.25, "blue": 0.75}


def test_categories_hardly_known_to_the_baseline_are_one_sample_of_the_whole(
    shop: CatalogSummary,
) -> None:
    both = join(make_answers(40, category="shoes"), make_answers(60, category="shirts"))
    summary = count_answers(both).summary
    assert summary is not None
    expected = expect_like(shop, summary, min_rows=3001)
    assert expected.rows == pytest.approx(shop.products.rows)


def test_without_categories_the_whole_is_expected(shop: CatalogSummary) -> None:
    expected = expect_like(shop, run_of(None), min_rows=100)
    assert colors(expected) == {"red": 0.25, "blue": 0.75}


def test_mixture_as_the_catalog_has_it_gives_the_catalogs_own_figures(
    shop: CatalogSummary,
) -> None:
    shoes, shirts = shop.categories["shoes"], shop.categories["shirts"]
    mixed = Expected(((0.25, shoes), (0.75, shirts)))
    whole = Expected(((1.0, shop.products),))
    assert mixed.rows == pytest.approx(4000)
    np.testing.assert_allclose(mixed.confidence_shares("color"), whole.confidence_shares("color"))
    modalities = attrgetter("modalities")
    assert mixed.shares(modalities) == pytest.approx(whole.shares(modalities))
    assert colors(mixed) == pytest.approx(colors(whole))
    assert mixed.answered("color") == pytest.approx(whole.answered("color"), abs=1e-4)


def test_weights_unlike_the_catalogs_are_worth_fewer_rows(shop: CatalogSummary) -> None:
    shoes, shirts = shop.categories["shoes"], shop.categories["shirts"]
    assert Expected(((0.9, shoes), (0.1, shirts))).rows < 1300


def test_abstentions_have_no_say_in_how_sure_answers_are_expected_to_be() -> None:
    half = make_answers(1000, color_shares={"red": 0.5, ABSTAINED: 0.5}, category="shoes")
    never = make_answers(3000, color_shares={ABSTAINED: 1.0}, category="hats")
    catalog = build_baseline(join(half, never))
    shoes, hats = catalog.categories["shoes"], catalog.categories["hats"]
    alone = Expected(((1.0, shoes),)).answered("color")
    assert alone is not None
    assert alone.rows == pytest.approx(shoes.attributes["color"].labels["red"])
    mixed = Expected(((0.25, shoes), (0.75, hats))).answered("color")
    assert mixed == pytest.approx(alone), "of hats nothing was answered"
    assert Expected(((1.0, hats),)).answered("color") is None
