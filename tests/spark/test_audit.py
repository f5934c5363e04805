"""Audits on Delta tables: a draw, a simulated person's labels, and what ends a certificate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import pandas as pd
import pytest
from shop import FakeGate, Shop, products

from bench.fake_engine import FakeEngineSpec
from enrich.certificates import Stage, lower_bound
from enrich.config import ColumnNames
from enrich.errors import ConfigError
from enrich.spark.audit import (
    _mark_skipped,
    draw,
    make_certificates,
    read_certificates,
    record_draw,
    record_labels,
)
from enrich.spark.refresh import Refresh
from enrich.spark.source import open_source
from schemas.labels import AuditedLabel

pytestmark = [pytest.mark.spark, pytest.mark.long]

CATEGORIES = {"columns": {"category": "department"}}


@dataclass(frozen=True)
class ListeningGate(FakeGate):
    """A gate that keeps what audits said, one list a run."""

    heard: list[Sequence[AuditedLabel]] = field(default_factory=list)

    def check_candidates(self, *rows, audited, **named):
        self.heard.append(audited)
        return super().check_candidates(*rows, audited=audited, **named)


@pytest.fixture(scope="module")
def audited(spark, tmp_path_factory):
    """Two hundred published products, of which a person has corrected one."""
    shop = Shop(spark, tmp_path_factory.mktemp("audited"), "audited")
    shop.write(products(200).assign(department=["shirts"] * 150 + ["bags"] * 50))
    shop.refresh(config=CATEGORIES)
    shop.correct("p0", "pattern", "striped")
    yield shop
    spark.sql("DROP DATABASE audited CASCADE")


def draw_of(shop, count):
    source = open_source(shop.spark, str(shop.file), ColumnNames())
    drawn = draw(shop.tables, source, count)
    record_draw(shop.tables, drawn)
    return drawn


def label(shop, drawn, wrong=0, blank=0):
    """Return what a person says who calls the first `wrong` colors something else."""
    answers = shop.table("audit_answers").query(f"audit_id == '{drawn.audit_id}'")
    published = answers.set_index(["product_id", "attribute"])["published_label"]
    rows = drawn.rows.assign(by="ana", at=pd.NaT)
    rows["at"] = pd.to_datetime(rows["at"], utc=True)
    rows["label"] = [published[key] for key in zip(rows.product_id, rows.attribute, strict=True)]
    colors = rows.index[rows["attribute"] == "color"]
    rows.loc[colors[:wrong], "label"] = ["not_applicable", "other"] * (wrong // 2)
    rows.loc[colors[len(colors) - blank :], "label"] = None
    return rows


def colors(recorded):
    (found,) = (one for one in recorded.certificates if one["attribute"] == "color")
    return found


def test_an_audit_goes_from_a_blind_draw_to_a_certificate_that_a_new_model_ends(audited):
    shop = audited
    wide = shop.table("product_attributes").set_index("product_id")
    first = draw_of(shop, 60)
    assert first.rows.columns.tolist() == [
        *("product_id", "attribute", "title", "image_path", "label")
    ]
    assert (first.rows["label"] == "").all() and first.rows["title"].notna().all()
    assert first.drawn == {"color": 60, "pattern": 60}
    assert "p0" not in set(first.rows["product_id"])
    for row in first.rows.itertuples():
        assert wide.loc[row.product_id, row.attribute] is not None
    assert read_certificates(shop.tables) == []

    # The catalog changes before anybody labels: what was drawn is what is judged.
    shop.write(products(200, "!").assign(department="shirts"))
    shop.refresh(config=CATEGORIES, run_date=date(2026, 11, 25))
    now = shop.table("product_attributes").set_index("product_id")["color"]
    drawn = shop.table("audit_answers").query("attribute == 'color'")
    assert (drawn["product_id"].map(now) != drawn["published_label"]).any()
    given = label(shop, first, wrong=4, blank=10)
    recorded = record_labels(shop.tables, given)
    population = first.drawn["color"] + first.not_drawn["color"]
    found = colors(recorded)
    assert (recorded.new, recorded.unlabelled) == (110, 10)
    assert (found["drawn"], found["labels"], found["right_labels"]) == (60, 50, 46)
    assert found["bound"] == lower_bound([Stage(60, 50, 46)], population)
    assert found["stands"]

    versions = shop.version("audit_answers"), shop.version("audit_certificates")
    assert record_labels(shop.tables, given).new == 0
    assert (shop.version("audit_answers"), shop.version("audit_certificates")) == versions

    second = draw_of(shop, 60)
    again = second.rows.merge(first.rows, on=["product_id", "attribute"])
    assert again.empty
    found = colors(record_labels(shop.tables, label(shop, second)))
    # The catalog has more answers by now.
    population = max(population, 60 + second.drawn["color"] + second.not_drawn["color"])
    assert found["bound"] == lower_bound([Stage(60, 50, 46), Stage(60, 60, 60)], population)
    parts = shop.table("certificates").query("attribute == 'color'")
    by_label = parts[parts["label"].notna()]
    assert by_label["labels"].sum() <= 110 and (by_label["labels"] >= 30).all()
    assert set(parts["category"].dropna()) == {"shirts"}

    gate = ListeningGate()
    shop.write(products(200, "!!").assign(department="shirts"))
    Refresh(shop.prepare(config=CATEGORIES, run_date=date(2026, 11, 25)), gate).run()
    (heard,) = gate.heard
    judged = [one for one in heard if one.attribute == "color"]
    assert (sum(a.labels for a in judged), sum(a.right for a in judged)) == (110, 106)

    shop.refresh(spec=FakeEngineSpec(model_version="fake-2"), run_date=date(2026, 11, 26))
    ended = [one for one in read_certificates(shop.tables) if one["attribute"] == "color"]
    assert [one["stands"] for one in ended] == [False]
    assert "fake-2" in ended[0]["ended_because"]
    shop.roll_back(shop.summary.run_id)
    assert all(one["stands"] for one in read_certificates(shop.tables))


def test_labels_of_products_that_no_draw_has_are_refused(audited):
    rows = pd.DataFrame([["p0", "color", "red", None, pd.NaT]])
    rows.columns = ["product_id", "attribute", "label", "by", "at"]
    with pytest.raises(ConfigError, match="p0 color"):
        record_labels(audited.tables, rows)


def test_a_published_run_that_the_gate_had_stopped_for_a_shift_ends_certificates(audited):
    shop = audited
    check = {
        "run_date": date(2026, 11, 26),
        "model_version": "fake-1",
        "baseline": "shop",
        "suite": "candidates",
        "attribute": "color",
        "expectation": "expect_label_shares_near_baseline",
        "outcome": "fail",
        "detail": "18% more blue",
    }
    shop.write(products(200, "?").assign(department="shirts"))
    run = shop.refresh(config=CATEGORIES, run_date=date(2026, 11, 27)).run_id
    rows = shop.tables.to_rows("label_quality", [check | {"run_id": run}])
    shop.tables.append("label_quality", rows, run)
    found = {one["attribute"]: one for one in read_certificates(shop.tables)}
    assert not found["color"]["stands"] and "18% more blue" in found["color"]["ended_because"]
    assert found["pattern"]["stands"]

    drawn = draw_of(shop, 40)
    record_labels(shop.tables, label(shop, drawn))
    last = {one["attribute"]: one for one in read_certificates(shop.tables)}
    assert last["color"]["stands"] and last["color"]["labels"] == 40
    assert last["pattern"]["labels"] > found["pattern"]["labels"]


def test_what_was_drawn_before_a_catalog_grew_belongs_to_its_population():
    days = pd.to_datetime(["2026-05-01", "2026-06-01"], utc=True)
    answers = pd.DataFrame(
        {
            "audit_id": ["audit-2"] * 40 + ["audit-1"] * 60,
            "product_id": [f"p{number}" for number in range(100)],
            "order": range(100),
            "attribute": "color",
            "model_version": "one",
            "drawn_at": [days[1]] * 40 + [days[0]] * 60,
            "drawn_from": [90] * 40 + [100] * 60,
            "label": "red",
            "published_label": "red",
            "product_category": None,
            "counted_at": [days[1]] * 40 + [days[0]] * 60,
            "labelled_at": days[1],
        }
    )
    made, *_ = make_certificates(answers, days[1].to_pydatetime())
    assert made["bound"] == lower_bound([Stage(60, 60, 60), Stage(40, 40, 40)], 150)


def test_skipped_answers_count_as_wrong_and_those_after_the_last_label_do_not():
    days = pd.to_datetime(["2026-05-01", "2026-05-02", "2026-05-03"], utc=True)
    # On the first day the first 60 of 100, of which ten were skipped; on the second one 20 more.
    counted = [None if n % 6 == 0 else days[0] for n in range(60)] + [days[1]] * 20 + [None] * 20
    answers = pd.DataFrame(
        {
            "audit_id": "audit-1",
            "product_id": [f"p{number}" for number in range(100)],
            "order": range(100),
            "attribute": "color",
            "model_version": "one",
            "drawn_at": days[0],
            "drawn_from": 500,
            "label": [None if at is None else "red" for at in counted],
            "published_label": "red",
            "product_category": None,
            "counted_at": pd.to_datetime(counted, utc=True),
            "labelled_at": days[0],
        }
    )
    shuffled = answers.sample(frac=1, random_state=0)
    marked = _mark_skipped(shuffled)
    assert sorted(marked.loc[marked["is_skipped"], "order"]) == list(range(0, 60, 6))
    made, *_ = make_certificates(shuffled, days[2].to_pydatetime())
    assert (made["labels"], made["right_labels"]) == (80, 70)
    # They are counted when they are skipped, so the first look counts 60.
    assert made["bound"] == lower_bound([Stage(100, 80, 70)], 500)
    assert made["statement"].endswith("; of these, 10 were skipped and count as wrong")
    filled = answers.assign(label="red", counted_at=days[0])
    made, *_ = make_certificates(filled, days[2].to_pydatetime())
    assert (made["labels"], made["right_labels"]) == (100, 100)
    assert "skipped" not in made["statement"]
    assert _mark_skipped(answers.iloc[:0]).empty
