"""The page as a file: what is on it, what cannot be on it, and how large it gets."""

import base64
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from enrich.records import Candidate
from enrich.report.content import BINS, STAGES, Gallery, RunReport
from enrich.report.page import MAX_PAGE_BYTES, render_page
from schemas.labels import ABSTAINED

from .conftest import MakeReport

HOSTILE = {
    "script": "<script>window.owned = true</script>",
    "broken out of an attribute": '"><img src=x onerror="window.owned = true">',
    "single quotes": "'><svg onload='window.owned = true'>",
    "end of the style sheet": "</style><script>window.owned = true</script>",
    "comment": "--><script>window.owned = true</script><!--",
    "template": "{{ 7 * 7 }}{% raw %}",
    "link": "javascript:window.owned = true",
    "remote": "<link rel=stylesheet href=http://evil.invalid/x.css>",
    "entity": "&lt;script&gt;&#60;script&#62;",
}


class Page(HTMLParser):
    """What a browser would see: every element with its attributes, and the text."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.elements)


def test_a_stage_has_one_color_on_every_page(make_report: MakeReport) -> None:
    report = make_report("harmless")
    quick = replace(report, run=replace(report.run, seconds={"tables": 1.0, "inference": 2.0}))
    whole = replace(report, run=replace(report.run, seconds=dict.fromkeys(STAGES, 1.0)))

    drawn = [
        {one["class"] for tag, one in Page(render_page(page, {})).elements if tag == "rect"}
        for page in (quick, whole)
    ]

    assert {name for name in drawn[0] if name.startswith("stage-")} == {
        "stage-tables",
        "stage-inference",
    }
    assert {f"stage-{stage}" for stage in STAGES} <= drawn[1]
    styles = render_page(whole, {}).decode()
    assert all(f"rect.stage-{stage} {{" in styles for stage in STAGES)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_stays_text_wherever_it_stands(
    make_report: MakeReport, picture: str, kind: str
) -> None:
    thumbnails = {f"pictures/{n}.jpg": picture for n in range(6)}
    harmless = Page(render_page(make_report("harmless"), thumbnails))
    page = Page(render_page(make_report(HOSTILE[kind]), thumbnails))

    assert HOSTILE[kind] in page.text
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert re.match("#|$", attributes.get("href") or "")
        assert re.match("data:image/webp;base64,|$", attributes.get("src") or "")


def test_page_allows_itself_nothing_but_its_own_style_and_pictures(make_report: MakeReport) -> None:
    page = render_page(make_report(), {})
    policy = next(
        attributes["content"]
        for tag, attributes in Page(page).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )

    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style = page.split(b"<style>")[1].split(b"</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_control_and_direction_characters_do_not_reach_the_page(make_report: MakeReport) -> None:
    says = "a\x00b\x1b[31mc\u202egnp.exe\u2066d\u2028e\ud800f \u0645\u0631\u062d\u0628\u0627"
    page = render_page(make_report(says), {}).decode()

    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069\u2028\ud800-\udfff]", page)
    assert "\u0645\u0631\u062d\u0628\u0627" in page
    assert re.search('<p class="title" dir="auto">a b', page)


@pytest.mark.parametrize(
    "path",
    [
        "s3a://AKIAEXAMPLE:deadbeef@bucket/a.jpg",
        "https://cdn.example/a.jpg?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature=deadbeef",
        f"https://feed:{'deadbeef' * 100}@cdn.example/a.jpg",
    ],
)
def test_secrets_in_image_addresses_do_not_reach_the_page(
    make_report: MakeReport, path: str
) -> None:
    report = make_report()
    gallery = report.gallery
    (failed, *_), (row, *_) = gallery.failed, gallery.quarantined
    shelves = {
        "failed": (replace(failed, image_path=path),),
        # A line that is no JSON stands there as a title.
        "quarantined": (replace(row, image_path=path), replace(row, title=f'{{"image": "{path}"')),
    }
    page = render_page(replace(report, gallery=replace(gallery, **shelves)), {}).decode()

    assert "deadbeef" not in page and "AKIAEXAMPLE" not in page
    shown = path.rpartition("@")[2].partition("?")[0]
    assert page.count(shown) == 3, "all else of them is shown"


def test_text_of_a_megabyte_is_cut(make_report: MakeReport) -> None:
    page = render_page(make_report("x" * 1_000_000), {})

    assert len(page) < 400_000
    assert b"x" * 300 in page
    assert b"x" * 500 not in page


def test_page_over_the_budget_drops_its_last_pictures_until_it_fits(
    make_report: MakeReport,
) -> None:
    report = make_report(cards=18)
    thumbnails = {f"pictures/{n}.jpg": f"data:image/webp;base64,{n:A>99999}" for n in range(18)}

    page = render_page(report, thumbnails)

    assert len(page) <= MAX_PAGE_BYTES
    assert len(page) > MAX_PAGE_BYTES - 3 * 100_000
    kept = [place for place in range(18) if thumbnails[f"pictures/{place}.jpg"].encode() in page]
    assert kept == list(range(len(kept)))
    assert "no picture" in page.decode()


@pytest.fixture(scope="module")
def report_of_many(make_report: MakeReport) -> RunReport:
    """Of 12 attributes with 20 labels each."""
    report = make_report(cards=18)
    (color,) = report.attributes
    products = {f"label {n}": 100 - n for n in range(20)} | {ABSTAINED: 50}
    many = replace(color, labels=products, before=products, baseline=products, answered=(5,) * BINS)
    names = [f"attribute {number}" for number in range(12)]
    (said,) = report.gallery.sure[0].answers
    answers = tuple(replace(said, attribute=name) for name in names)
    shelf = tuple(replace(card, answers=answers, about=names[0]) for card in report.gallery.sure)
    return replace(
        report,
        attributes=tuple(replace(many, name=name) for name in names),
        gallery=replace(report.gallery, changed=shelf, unsure=shelf, sure=shelf),
    )


@pytest.mark.parametrize(
    ("max_bytes", "has_cards", "labels", "attributes"),
    [
        (3_000_000, True, 20, 12),
        (300_000, False, 20, 12),
        (220_000, False, 10, 12),
        (120_000, False, 10, 6),
    ],
)
def test_a_page_over_its_budget_without_pictures_leaves_out_what_is_missed_least_and_says_so(
    report_of_many: RunReport, max_bytes: int, has_cards: bool, labels: int, attributes: int
) -> None:
    page = render_page(report_of_many, {}, max_bytes)
    text = " ".join(Page(page).text.split())

    assert len(page) <= max_bytes
    # A product that is on a card stands among those that could not be read, too, without category.
    assert ("p-1 · shirts" in text) == has_cards
    assert ("No products are shown here: the page would be too large" in text) != has_cards
    assert "12 of 900 products that had been published before got another label" in text
    assert ("And 10 rarer labels" in text) == (labels == 10)
    assert text.count("The classifier was sure enough") == attributes
    left = 12 - attributes
    assert (f"And {left} more attributes: the page would be too large with all" in text) == (
        left > 0
    )


def test_page_that_is_too_large_however_little_it_shows_is_refused(make_report: MakeReport) -> None:
    with pytest.raises(ValueError, match="bytes at its shortest, allowed are 5,000"):
        render_page(make_report(), {}, max_bytes=5_000)


def test_run_without_any_product_has_a_page(empty_report: RunReport) -> None:
    text = Page(render_page(empty_report, {})).text

    assert "Nothing to publish" in text
    assert "No check ran" in text
    assert "This run answered no product." in text


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        ("published", "Published"),
        ("staged", "Staged"),
        ("blocked", "Blocked"),
        ("nothing_to_do", "Nothing to publish"),
        ("dropped", "Dropped"),
        ("rolled_back", "Rolled back"),
        ("failed", "Failed"),
    ],
)
def test_every_outcome_of_the_ledger_is_said_in_words(
    make_report: MakeReport, outcome: str, title: str
) -> None:
    text = Page(render_page(make_report(outcome=outcome), {})).text

    assert f"{title} 24 November 2026" in " ".join(text.split())
    waits = outcome in ("staged", "blocked")
    assert ("--publish-run 20261124-0a1b2c3d4e" in text) == waits


def test_blocked_run_without_an_answer_offers_nothing_to_publish(
    make_report: MakeReport,
) -> None:
    report = make_report(outcome="blocked")
    refused = replace(report, run=replace(report.run, counts={**report.run.counts, "enriched": 0}))

    text = Page(render_page(refused, {})).text

    assert "No product was answered" in text
    assert "--publish-run" not in text


def test_page_shows_what_the_run_did(make_report: MakeReport) -> None:
    text = " ".join(Page(render_page(make_report(), {})).text.split())

    for said in (
        "1,300 read",
        "quarantined 30",
        "tables 5 s survey 20 s inference 40 s",
        "30 products a second",
        "1 failed 1 warning 1 passed",
        "The classifier was sure enough of the color of 1,100 of 1,190 products (92%)",
        "image: never answered",
        "image+text: answered from 0.88",
        "this run: 67% baseline: 60% published before: 50% 67%800",
        "not sure enough this run: 7.6%",
        "12 of 900 products that had been published before got another label",
        "set by a person",
        "before: blue",
        "red 0.93, blue 0.04?",
        "neither image nor text could be read",
        "Besides, 20 rows were of no use, and not put into quarantine by this run",
    ):
        assert said in text, said


def read_text(report: RunReport) -> str:
    return " ".join(Page(render_page(report, {})).text.split())


def with_run(report: RunReport, counts: dict[str, int] | None = None, **facts: Any) -> RunReport:
    """Returns the report of a run with other facts, and with some other counts."""
    counts = {**report.run.counts, **(counts or {})}
    return replace(report, run=replace(report.run, counts=counts, **facts))


@pytest.mark.parametrize(
    ("outcome", "error", "is_known"),
    [
        ("published", None, True),
        ("staged", None, True),
        # The ids of a third are lost: what the run was stopped before it put away, nobody did.
        ("blocked", "30 of 100 rows have no product_id", False),
        ("published", "30.0% of 100 products could not be read", False),
        # What it could not read was taken out.
        ("dropped", None, False),
    ],
)
def test_rows_of_no_use_were_in_quarantine_before_only_a_run_that_nothing_stopped(
    make_report: MakeReport, outcome: str, error: str | None, is_known: bool
) -> None:
    report = with_run(replace(make_report(outcome=outcome), quarantined={}), error=error)

    text = read_text(report)

    assert ("30 more rows were in quarantine already" in text) == is_known
    not_by_it = "30 rows were of no use, and not put into quarantine by this run"
    assert (not_by_it in text) != is_known


def test_page_of_a_dropped_run_denies_nothing_that_it_had(make_report: MakeReport) -> None:
    report = make_report(outcome="dropped")
    color = replace(report.attributes[0], answered=(0,) * BINS, abstained=(0,) * BINS)
    emptied = replace(
        report,
        attributes=(color,),
        before=replace(report.before, seen_again=0, changed=0),
        gallery=Gallery(),
        statuses={},
        quarantined={},
    )

    text = read_text(emptied)

    for denied in (
        "no baseline for this catalog",
        "asked about no product",
        "answered no product",
        "None of this run's products",
        "No product was given a label",
        "put no row into quarantine",
    ):
        assert denied not in text, denied
    assert "not published was deleted, so its answers cannot be shown" in text


def test_page_names_the_baseline_of_the_checks(make_report: MakeReport) -> None:
    report = make_report()
    assert report.baseline == "shop"
    assert "no baseline for this catalog" not in read_text(report)
    # The products were held against nothing expected, but the answers never came to be.
    input_alone = tuple(replace(c, suite="input", baseline="none") for c in report.checks)
    assert "no baseline for this catalog" not in read_text(replace(report, checks=input_alone))
    against_none = tuple(replace(check, baseline="none") for check in report.checks)
    without = replace(report, checks=against_none)
    assert "There was no baseline for this catalog" in read_text(without)


def test_a_check_without_an_attribute_is_of_the_rows_that_were_judged(
    make_report: MakeReport,
) -> None:
    report = make_report()
    check = replace(report.checks[0], attribute=None, category=None)
    text = read_text(replace(report, checks=(check,)))
    # Not of those that were carried over, or that the run had published before.
    assert "failed all that were judged known labels" in text
    assert "all rows" not in text


def test_no_product_got_a_label_that_is_withheld(make_report: MakeReport) -> None:
    def published(**counts: int) -> str:
        return read_text(with_run(make_report(), counts))

    before = "12 of 900 products that had been published before"
    assert f"{before} got another label" in published()
    assert f"{before} would get another label" in read_text(make_report(outcome="staged"))
    late = published(published=0, withheld=1190)
    assert "got another label" not in late
    again = with_run(make_report(outcome="blocked"), {"published": 890, "withheld": 300})
    assert f"{before} have another label by this run's answers, 300 of which" in read_text(again)
    assert f"{before} have another label by this run's answers, 1,190 of which are withheld" in late


def test_a_run_that_was_stopped_before_any_check_had_something_to_check(
    make_report: MakeReport, empty_report: RunReport
) -> None:
    cut_off = with_run(replace(empty_report), outcome="blocked", error="9,000 products gone")

    text = read_text(cut_off)

    assert "No check ran: the run was stopped before that." in text
    assert "nothing new to check" not in text
    assert "nothing new to check" in read_text(empty_report)
    # It had asked about products that were published, but did not come to them.
    assert "None of this run's products" not in text


def test_a_figure_beside_a_person_s_label_is_said_to_be_of_the_classifier_s(
    make_report: MakeReport,
) -> None:
    report = make_report()
    (card, *_) = report.gallery.changed
    (said,) = card.answers
    beige = replace(said, label="beige", candidates=(Candidate("white", 0.97),))
    none = replace(beige, label=ABSTAINED)
    shown = tuple(replace(card, answers=(one,)) for one in (beige, none))

    text = read_text(replace(report, gallery=Gallery(changed=shown)))

    changed = text.split("What changed")[1].split("Least sure")[0]
    assert changed.count("set by a person classifier: white 0.97") == 2
    assert (changed.count("0.97"), changed.count("none fits"), changed.count("?")) == (2, 1, 0)


def test_page_says_how_many_products_were_not_asked_about_again(make_report: MakeReport) -> None:
    # A full refresh, or another checkpoint, asks about products that are neither new nor changed.
    assert "to be written anew 1,190 enriched" in read_text(make_report())
    carried = with_run(make_report(), {"carried": 1004})
    assert "to be written anew; 1,004 carried 1,190 enriched" in read_text(carried)


def test_product_without_a_picture_gets_a_placeholder(
    make_report: MakeReport, picture: str
) -> None:
    some = Page(render_page(make_report(), {"pictures/0.jpg": picture}))

    assert some.count("img") == 3  # one a shelf with pictures
    assert some.text.count("no picture") == 15


def test_page_says_how_many_products_have_vanished(make_report: MakeReport) -> None:
    report = make_report()
    counts = {**report.run.counts, "vanished": 12, "deleted": 3}
    page = render_page(replace(report, run=replace(report.run, counts=counts)), {}).decode()

    assert "12 published products, 3 deleted" in page
    assert "No longer in the catalog" not in render_page(report, {}).decode()


def test_staged_run_that_only_waits_to_delete_can_be_published(make_report: MakeReport) -> None:
    report = make_report(outcome="staged")
    counts = {**report.run.counts, "enriched": 0, "vanished": 40}
    text = Page(render_page(replace(report, run=replace(report.run, counts=counts)), {})).text

    assert "40 products that are gone from the product table wait to be deleted" in text
    assert "--publish-run 20261124-0a1b2c3d4e" in text


def test_abstentions_are_shown_beside_the_most_frequent_of_many_labels(
    make_report: MakeReport,
) -> None:
    report = make_report()
    (color,) = report.attributes
    labels = {f"shade {n}": 100 - n for n in range(35)} | {ABSTAINED: 5_000}
    many = replace(color, labels=labels, before={}, baseline={}, changes=())
    text = Page(render_page(replace(report, attributes=(many,)), {})).text

    assert "shade 29" in text and "shade 30" not in text
    assert "And 5 rarer labels" in text
    assert "5,000" in text


def test_shares_beside_each_other_are_told_to_who_cannot_see_bars(
    make_report: MakeReport,
) -> None:
    report = make_report()
    color = replace(
        report.attributes[0],
        labels={"red": 3, ABSTAINED: 1},
        baseline={"red": 60, ABSTAINED: 40},
        before={},
    )
    page = Page(render_page(replace(report, attributes=(color,)), {}))
    told = [given.get("aria-label") for tag, given in page.elements if tag == "svg"]
    assert "this run: 75%, baseline: 60%" in told


def test_bars_stand_out_from_a_light_page() -> None:
    style = files("enrich.report").joinpath("templates/page.css").read_text().partition("@media")[0]
    for name in ("run", "baseline", "before"):
        (bar,) = re.findall(rf"--{name}: #(\w+);", style)
        red, green, blue = ((int(bar[at : at + 2], 16) / 255 + 0.055) / 1.055 for at in (0, 2, 4))
        brightness = 0.2126 * red**2.4 + 0.7152 * green**2.4 + 0.0722 * blue**2.4
        assert 1.05 / (brightness + 0.05) > 3, f"{name} on white (WCAG 2.2, 1.4.11)"


def test_confidence_that_is_no_number_is_shown_as_such(make_report: MakeReport) -> None:
    report = make_report()
    (card, *_) = report.gallery.unsure
    (said,) = card.answers
    broken = replace(card, answers=(replace(said, candidates=(Candidate("red", math.nan),)),))
    page = render_page(replace(report, gallery=replace(report.gallery, unsure=(broken,))), {})

    assert "nan" in Page(page).text


def test_commands_name_the_settings_that_the_run_had(make_report: MakeReport) -> None:
    text = Page(render_page(make_report(outcome="blocked"), {})).text
    assert "enrich_catalog.py --config 'our shop.yaml' --database shop --publish-run" in text


def test_commands_are_whole_however_long_a_path_is(make_report: MakeReport) -> None:
    path = f"/volume/{'long-folder/' * 60}<shop>\u202e.yaml"
    report = with_run(make_report(outcome="blocked"), settings_file=path)
    page = render_page(report, {})

    shown = path.replace("\u202e", " ")
    for settles in ("--publish-run", "--drop-run"):
        whole = f"--config '{shown}' --database shop {settles} 20261124-0a1b2c3d4e --reason \"...\""
        assert whole in Page(page).text
    assert "\u202e" not in page.decode() and "<shop>" not in page.decode()


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({}, "1,190 products were given the labels of this run."),
        ({"published": 1}, "1 product was given the labels of this run."),
        (
            {"published": 2, "deleted": 1},
            "2 products were given the labels of this run. 1 product that is gone was deleted.",
        ),
        (
            {"published": 0, "enriched": 0, "deleted": 3},
            "No product was given the labels of this run. 3 products that are gone were deleted.",
        ),
        (
            {"published": 0, "withheld": 1190},
            "No product was given the labels of this run. 1,190 answers are withheld.",
        ),
    ],
)
def test_a_published_run_says_what_it_did_to_the_table(
    make_report: MakeReport, counts: dict[str, int], sentence: str
) -> None:
    text = read_text(with_run(make_report(), counts))
    assert f"Published 24 November 2026 {sentence}" in text


@pytest.mark.parametrize(
    ("outcome", "counts", "sentence"),
    [
        (
            "blocked",
            {"enriched": 5300, "published": 5000, "withheld": 300},
            "300 answered products were not published. 5,000 are published already. To publish",
        ),
        (
            "staged",
            {"enriched": 5000, "published": 5000, "withheld": 0, "vanished": 7},
            "7 products that are gone from the product table wait to be deleted. 5,000 are",
        ),
        (
            "staged",
            {"enriched": 300, "withheld": 300, "vanished": 7},
            "300 answered products wait for a look. 7 products that are gone",
        ),
        # A product more, which could not be read.
        (
            "staged",
            {"enriched": 1, "published": 1, "withheld": 0},
            "No answered product waits. 1 is published already. To publish",
        ),
        (
            "blocked",
            {"enriched": 0, "published": 5000, "withheld": 300},
            "none waits to be published. 5,000 are published already.",
        ),
    ],
)
def test_what_a_waiting_run_has_published_does_not_wait(
    make_report: MakeReport, outcome: str, counts: dict[str, int], sentence: str
) -> None:
    assert sentence in read_text(with_run(make_report(outcome=outcome), counts))


def test_vanished_products_that_are_kept_do_not_wait_to_be_deleted(make_report: MakeReport) -> None:
    report = with_run(make_report(outcome="staged"), {"vanished": 7}, deletes_missing=False)
    assert "1,190 answered products wait for a look. To publish" in read_text(report)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"enriched": 1, "withheld": 1}, "1 answered product waits for a look. "),
        ({"enriched": 0, "vanished": 1}, "1 product that is gone from the product table waits to "),
    ],
)
def test_one_is_no_plural(make_report: MakeReport, counts: dict[str, int], sentence: str) -> None:
    assert sentence in read_text(with_run(make_report(outcome="staged"), counts))
