"""A run's report made by hand, with a choice of every text that comes from outside."""

import base64
import io
import math
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from browser import open_tab
from PIL import Image

from enrich.records import Candidate
from enrich.report.content import (
    BINS,
    SECTIONS,
    AttributeFacts,
    Before,
    Change,
    RunReport,
    Truth,
)
from enrich.unseen import AttributeProfile, SourceProfile
from schemas.labels import ABSTAINED
from schemas.tables import COUNTS

MakeReport = Callable[..., RunReport]
# What stands where a text comes from outside, given what usually does.
Text = Callable[[str], str]


@pytest.fixture(scope="session")
def make_report():
    """A function that makes a report; `says` stands wherever a text comes from outside."""

    def make(says=None, outcome="published", cards=6):
        def text(usual):
            return usual if says is None else says

        check = _make_check(text)
        return RunReport(
            run=_make_facts(text, outcome),
            checks=(check, check | {"outcome": "warn"}, check | {"outcome": "pass"}),
            attributes=(_make_attribute(text),),
            before=Before(7, 1000, 900, 12),
            gallery=_make_gallery(text, cards),
            reasons={text("changed"): 890, "new": 300, "missing": 3},
            statuses={"ok": 1180, text("image_missing"): 20},
            quarantined={text("no_modality"): 10},
            proofs=[_make_proof(text)],
            profile=SourceProfile(
                500, 0.05, {text("color"): AttributeProfile(0.8, 0.8, named=0.5, contradicted=0.1)}
            ),
        )

    return make


def _make_check(text):
    return {
        "expectation": text("expect_known_labels"),
        "outcome": "fail",
        "observed": 3.0,
        "threshold": 0.0,
        "detail": text("3 rows hold a label unknown to the checkpoint"),
        "attribute": text("color"),
        "category": text("shirts"),
        "suite": "candidates",
        "baseline": text("shop"),
    }


def _make_proof(text):
    said, ended = text("at least 86 % are right"), text("a new model")
    return {"attribute": text("style"), "statement": said, "ended_because": ended}


def _make_facts(text, outcome):
    published = 1190 if outcome == "published" else 0
    counts = {
        "read": 1300,
        "due": 1200,
        "answered": 1190,
        "published": published,
        "unchanged": 80,
        "quarantined": 30,
        "withheld": 1190 - published,
    }
    return {
        "run_id": text("20261124-0a1b2c3d"),
        "state": outcome,
        "run_date": date(2026, 11, 24),
        "started_at": datetime(2026, 11, 24, 4, 5, tzinfo=UTC),
        "database": text("shop"),
        "source": text("shop/products.parquet"),
        "source_version": text("12"),
        "model_version": text("cma-clip-small-0123-p90"),
        "counts": dict.fromkeys(COUNTS, 0) | counts,
        "seconds": {"encode": 40.0, text("diff"): 20.0, "tables": 5.0},
        "trigger": text("scheduled"),
        "products_per_second": 30.0,
        "error": text("too many failures"),
        "reason": text("a new season"),
        "caused_by": text("20261123-0a1b2c3d") if outcome == "rolled_back" else None,
        "given": {"config": text("our shop.yaml")},
    }


def _make_attribute(text):
    return AttributeFacts(
        name=text("color"),
        labels={text("red"): 800, "blue": 300, ABSTAINED: 90},
        before={text("red"): 500, ABSTAINED: 500},
        baseline={text("red"): 60, "green": 40},
        answered=(0,) * (BINS - 2) + (100, 1000),
        abstained=(5,) * 18 + (0, 0),
        image_weights=tuple(range(BINS)),
        thresholds={"image+text": 0.88, "image": math.inf, text("text"): 0.29},
        floors={text("red"): 0.93, "teal": math.inf},
        changes=(Change(text("red"), ABSTAINED, 12),),
        truth={text("red"): Truth(0.97, 0.94, 0.99)},
    )


def _make_gallery(text, cards):
    answer = {
        "attribute": text("color"),
        "label": text("red"),
        "candidates": [Candidate(text("red"), 0.93), Candidate(text("blue"), 0.04)],
        "is_corrected": True,
        "old": text("blue"),
        "image_weight": 0.4,
        "named": None,
    }
    unsure = answer | {"label": ABSTAINED, "is_corrected": False}
    contradicted = unsure | {"named": text("blue")}
    card = {
        "product_id": text("p-1"),
        "status": text("image_corrupt"),
        "answers": [answer],
        "title": text("A red shirt"),
        "product_category": text("shirts"),
        "modalities": text("text"),
        "error": text("broken data stream"),
        "reason": text("changed"),
        "about": text("color"),
    }
    section = [card | {"image_path": f"pictures/{n}.jpg"} for n in range(cards)]
    quarantined = card | {"image_path": "pictures/p-1.jpg"}
    return {
        "changed": section,
        "contradictions": [one | {"answers": [contradicted]} for one in section],
        "unsure": [one | {"answers": [unsure]} for one in section],
        "examples": section,
        "failed": section,
        "quarantined": [
            quarantined | {"status": text("no_modality")},
            quarantined | {"product_id": None},
        ],
    }


@pytest.fixture(scope="session")
def empty_report():
    """The first run of an empty catalog."""
    run = _make_facts(lambda usual: usual, "nothing_to_do") | {
        "counts": dict.fromkeys(COUNTS, 0),
        "seconds": {},
        "error": None,
        "reason": None,
    }
    return RunReport(run, (), (), Before(0, 0, 0, 0), dict.fromkeys(SECTIONS, ()), {}, {}, {})


@pytest.fixture(scope="session")
def picture():
    """A small picture as a data: URI."""
    encoded = io.BytesIO()
    Image.new("RGB", (60, 80), (200, 30, 30)).save(encoded, "WEBP")
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


@pytest.fixture(scope="session")
def tab(tmp_path_factory):
    with open_tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
