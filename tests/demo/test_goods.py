"""Every label is sold, and the labels are spread as in a shop."""

from collections import Counter

import numpy as np

from enrich.demo.goods import choose_goods
from schemas.labels import ATTRIBUTE_LABELS


def test_every_label_is_sold() -> None:
    goods = [choose_goods(np.random.default_rng([0, index])) for index in range(1500)]
    assert {one.color for one in goods} == set(ATTRIBUTE_LABELS["color"])
    assert {one.pattern for one in goods} == {None, *ATTRIBUTE_LABELS["pattern"]}
    assert {one.article.style for one in goods} == set(ATTRIBUTE_LABELS["style"])


def test_labels_are_spread_as_in_a_shop() -> None:
    goods = [choose_goods(np.random.default_rng([1, index])) for index in range(3000)]
    styles = Counter(one.article.style for one in goods)
    patterns = Counter(one.pattern for one in goods if one.pattern)
    assert 0.6 < styles["casual"] / len(goods) < 0.72
    assert 0.4 < patterns["solid"] / patterns.total() < 0.5
    commonest = [name for name, _ in patterns.most_common(4)]
    assert commonest == ["solid", "printed", "striped", "checked"]
