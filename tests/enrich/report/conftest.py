"""A run's report made by hand, in which every text that comes from outside can be chosen."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from PIL import Image

from enrich.records import Candidate
from enrich.report.content import (
    BINS,
    AttributeFacts,
    Before,
    Card,
    Change,
    CheckRow,
    Gallery,
    RunFacts,
    RunReport,
    ShownAnswer,
)
from enrich.spark.counting import COUNTS
from schemas.labels import ABSTAINED

MakeReport = Callable[..., RunReport]
# What stands where a text comes from outside, given what usually does.
Text = Callable[[str], str]


@pytest.fixture(scope="session")
def make_report() -> MakeReport:
    """Returns a function that makes a report; `says` stands wherever a text comes from outside."""

    def make(says: str | None = None, outcome: str = "published", cards: int = 6) -> RunReport:
        def text(usual: str) -> str:
            return usual if says is None else says

        check = _make_check(text)
        return RunReport(
            run=_make_facts(text, outcome),
            checks=(check, replace(check, outcome="warn"), replace(check, outcome="pass")),
            attributes=(_make_attribute(text),),
            before=Before(7, datetime(2026, 11, 23, 4, 5, tzinfo=UTC), 1000, 900, 12),
            gallery=_make_gallery(text, cards),
            statuses={"ok": 1180, text("image_missing"): 20},
            quarantined={text("no_modality"): 10},
        )

    return make


def _make_check(text: Text) -> CheckRow:
    return CheckRow(
        expectation=text("expect_known_labels"),
        outcome="fail",
        observed=3.0,
        threshold=0.0,
        detail=text("3 rows hold a label unknown to the checkpoint"),
        attribute=text("color"),
        category=text("shirts"),
        suite="candidates",
        baseline=text("shop"),
    )


def _make_facts(text: Text, outcome: str) -> RunFacts:
    published = 1190 if outcome == "published" else 0
    return RunFacts(
        run_id=text("20261124-0a1b2c3d4e"),
        outcome=outcome,
        run_date=date(2026, 11, 24),
        database=text("shop"),
        catalog=text("shop/products.parquet"),
        catalog_version=text("12"),
        model_version=text("cma-clip-small-0123-p90"),
        counts={
            "read": 1300,
            "pending": 1200,
            "carried": 0,
            "enriched": 1190,
            "published": published,
            "unchanged": 80,
            "quarantined": 30,
            "withheld": 1190 - published,
            "vanished": 0,
            "deleted": 0,
        },
        seconds={"inference": 40.0, text("survey"): 20.0, "tables": 5.0},
        asked=1200,
        products_per_second=30.0,
        error=text("color: too blue"),
        reason=text("a new season"),
        settings_file=text("our shop.yaml"),
        deletes_missing=True,
    )


def _make_attribute(text: Text) -> AttributeFacts:
    return AttributeFacts(
        name=text("color"),
        labels={text("red"): 800, "blue": 300, ABSTAINED: 90},
        before={text("red"): 500, ABSTAINED: 500},
        baseline={text("red"): 60, "green": 40},
        answered=(0,) * (BINS - 2) + (100, 1000),
        abstained=(5,) * 18 + (0, 0),
        image_weights=tuple(range(BINS)),
        thresholds={"image+text": 0.88, "image": None, text("text"): 0.29},
        changes=(Change(text("red"), ABSTAINED, 12),),
    )


def _make_gallery(text: Text, cards: int) -> Gallery:
    answer = ShownAnswer(
        text("color"),
        text("red"),
        (Candidate(text("red"), 0.93), Candidate(text("blue"), 0.04)),
        is_corrected=True,
        old=text("blue"),
    )
    unsure = replace(answer, label=ABSTAINED, is_corrected=False)
    card = Card(
        product_id=text("p-1"),
        status=text("image_corrupt"),
        answers=(answer,),
        title=text("A red shirt"),
        image_path="pictures/p-1.jpg",
        category=text("shirts"),
        modalities=text("text"),
        error=text("broken data stream"),
        about=text("color"),
    )
    shelf = tuple(replace(card, image_path=f"pictures/{n}.jpg") for n in range(cards))
    return Gallery(
        changed=shelf,
        unsure=tuple(replace(one, answers=(unsure,)) for one in shelf),
        sure=shelf,
        failed=shelf,
        quarantined=(
            replace(card, status=text("no_modality")),
            replace(card, product_id=None),
        ),
    )


@pytest.fixture(scope="session")
def empty_report() -> RunReport:
    """The first run of an empty catalog."""
    counts = dict.fromkeys(COUNTS, 0)
    run = RunFacts("r", "nothing_to_do", date(2026, 11, 24), "d", "c", "0", "m", counts, {})
    attribute = AttributeFacts("color", {}, {}, {}, (0,) * BINS, (0,) * BINS, (0,) * BINS, {})
    return RunReport(run, (), (attribute,), Before(0, None, 0, 0, 0), Gallery(), {}, {})


@pytest.fixture(scope="session")
def picture() -> str:
    """A small picture as a data: URI."""
    encoded = io.BytesIO()
    Image.new("RGB", (60, 80), (200, 30, 30)).save(encoded, "WEBP")
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()
