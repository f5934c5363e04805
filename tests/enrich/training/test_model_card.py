"""The card says what was trained and measured, readably."""

from typing import Any

import pytest

from enrich.classifiers.config import ClassifierConfig
from enrich.training.config import Phase, TrainingConfig
from enrich.training.model_card import format_model_card

FIGURES = {
    "rows": 3819,
    "accuracy": 0.91937,
    "macro_f1": 0.8715,
    "recall_at_90_precision": 0.9194,
    "precision_at_90_threshold": None,
    "ece": 0.0168,
    "ece_before_calibration": 0.04,
}


@pytest.fixture
def write(small_config: ClassifierConfig) -> Any:
    def write(
        figures: dict[str, Any],
        catalogs: list[str],
        of: str = "test_groups_myntra",
        known_tests: int = 0,
    ) -> list[str]:
        products = {"train": 34_880, "validation": 4_246, "test": 4_217}
        metrics = {"products": products, of: figures}
        phase = Phase(loss="multitask", epochs=1, learning_rate=1e-3)
        training = TrainingConfig(name="tiny", phases=(phase,))
        card = format_model_card(
            small_config,
            training,
            metrics,
            catalogs,
            tells_of_tower=False,
            split_groups=0,
            known_tests=known_tests,
        )
        return card.splitlines()

    return write


def test_tables_are_rounded_and_name_each_condition_once(write: Any) -> None:
    unlabelled = {"rows": 0}
    figures = {
        "as is": {"color": FIGURES, "pattern": unlabelled, "style": FIGURES},
        "text removed": {"color": FIGURES, "pattern": unlabelled, "style": FIGURES},
    }
    card = write(figures, ["myntra"])
    start = card.index("### test groups myntra") + 2
    assert card[start].startswith("| condition | attribute | rows | accuracy | macro-F1 | R@90P |")
    rows = [line.strip("| ").split(" | ")[:5] for line in card[start + 2 : start + 6]]
    assert rows == [
        ["as is", "color", "3,819", "0.919", "0.872"],
        ["style", "3,819", "0.919", "0.872", "0.919"],
        ["text removed", "color", "3,819", "0.919", "0.872"],
        ["style", "3,819", "0.919", "0.872", "0.919"],
    ]
    assert len({line.count("|") for line in card[start : start + 6]}) == 1
    assert "0.040 | 0.017 |" in card[start + 2]


def test_names_that_mean_something_to_markdown_are_shown_as_they_are(write: Any) -> None:
    card = "\n".join(write({}, ["shop_a", "a|b*c*"]))
    assert r"Trained on: shop_a, a\|b\*c\*." in card


def test_catalogs_of_known_origin_are_credited(write: Any) -> None:
    assert "Amazon Berkeley Objects" in "\n".join(write({}, ["abo"]))
    assert "Berkeley" not in "\n".join(write({}, ["another"]))


def test_tests_that_share_something_with_what_is_trained_on_are_told(write: Any) -> None:
    told = "1,234 of all to test share a text or a picture with one to train on"
    assert told in " ".join(write({}, ["shop"], known_tests=1_234))
    assert "share a text" not in " ".join(write({}, ["shop"]))


@pytest.mark.parametrize(
    ("of", "is_told"), [("test_groups_strange_shop", False), ("strange_shop_other", True)]
)
def test_figures_of_a_strange_shop_are_announced_where_there_are_any(
    write: Any, of: str, is_told: bool
) -> None:
    card = " ".join(write({"as is": {"color": FIGURES}}, ["myntra"], of))
    assert ("figures of a strange shop" in card) is is_told
    assert ("### strange shop other" in card) is is_told
    assert "adapted to labels of that shop" in card
