"""The page as a file: what is on it, what cannot be on it, and how large it gets."""

import base64
import hashlib
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from enrich.records import Candidate
from enrich.report.content import STAGES, Gallery, GivenFlags, RunReport
from enrich.report.formatting import CAUSES, REASONS, STATUSES
from enrich.report.page import render_index, render_page
from enrich.unseen import AttributeProfile, SourceProfile
from schemas.labels import ABSTAINED
from schemas.tables import DUE, Outcome, Reason, State, Status

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


def read_text(report: RunReport) -> str:
    return " ".join(Page(render_page(report, {})).text.split())


def with_run(report: RunReport, counts: dict[str, int] | None = None, **facts: Any) -> RunReport:
    """Return the report of a run with other facts, and with some other counts."""
    counts = {**report.run.counts, **(counts or {})}
    return replace(report, run=replace(report.run, counts=counts, **facts))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_stays_text_wherever_it_stands(
    make_report: MakeReport, picture: str, kind: str
) -> None:
    thumbnails = {f"pictures/{n}.jpg": picture for n in range(6)}
    harmless, hostile = make_report("harmless"), make_report(HOSTILE[kind])
    pages = [
        (Page(render_page(harmless, thumbnails)), Page(render_page(hostile, thumbnails))),
        (
            Page(render_index([harmless.run], {"harmless"})),
            Page(render_index([hostile.run], {HOSTILE[kind]})),
        ),
    ]
    for usual, page in pages:
        assert HOSTILE[kind] in page.text
        assert [tag for tag, _ in page.elements] == [tag for tag, _ in usual.elements]
        for _, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert re.match(r"#|[\w%.-]*\.html$|$", attributes.get("href") or "")
            assert re.match("data:image/webp;base64,|$", attributes.get("src") or "")
            for name in ("data-fact", "data-facts"):
                assert re.fullmatch("[0-9 ]*", attributes.get(name) or "")


def test_page_says_what_is_proved_why_it_ended_and_what_nobody_has_audited(
    make_report: MakeReport,
) -> None:
    report = make_report()
    ended = read_text(report)
    assert all(said in ended for said in ("at least 86 % are right", "a new model"))
    assert "No certificate of color" in ended
    (proof,) = report.proofs
    stands = replace(proof, attribute="color", ended_because=None)
    said = read_text(replace(report, proofs=(stands,)))
    assert "at least 86 % are right" in said
    assert "ended" not in said and "No certificate" not in said


def test_pages_allow_nothing_but_their_own_style_script_and_pictures(
    make_report: MakeReport,
) -> None:
    report = make_report()
    own = {
        kind: files("enrich.report").joinpath(f"templates/page.{kind}").read_bytes()
        for kind in ("css", "js")
    }
    css, js = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
        for text in own.values()
    )
    for page in (render_page(report, {}), render_index([report.run], set())):
        (policy,) = (
            str(attributes["content"])
            for tag, attributes in Page(page).elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        )
        assert dict(rule.strip().split(" ", 1) for rule in policy.split(";")) == {
            "default-src": "'none'",
            "img-src": "data:",
            "style-src": css,
            "script-src": js,
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        assert b"<style>" + own["css"] + b"</style>" in page
    assert b"<script>" + own["js"] + b"</script>" in render_page(report, {})


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
    sections = {
        "failed": (replace(failed, image_path=path),),
        # A line that is not JSON stands there as a title.
        "quarantined": (replace(row, image_path=path), replace(row, title=f'{{"image": "{path}"')),
    }
    page = render_page(replace(report, gallery=replace(gallery, **sections)), {}).decode()

    assert "deadbeef" not in page and "AKIAEXAMPLE" not in page
    shown = path.rpartition("@")[2].partition("?")[0]
    assert page.count(shown) == 3, "all else of them is shown"


def test_text_of_a_megabyte_is_cut(make_report: MakeReport) -> None:
    # Commands are never cut: ids and paths in them are the run's own.
    report = replace(make_report("x" * 1_000_000), run=make_report().run)
    page = render_page(report, {})

    assert len(page) < 400_000
    assert b"x" * 300 in page
    assert b"x" * 500 not in page


def test_every_stage_and_reason_has_a_color_of_its_own(make_report: MakeReport) -> None:
    reasons = dict.fromkeys((*DUE, Outcome.MISSING), 1)
    report = with_run(make_report(), seconds=dict.fromkeys(STAGES, 1.0))
    page = render_page(replace(report, reasons=reasons), {})

    drawn = {attributes["class"] for tag, attributes in Page(page).elements if tag == "rect"}
    wanted = {f"stage-{stage}" for stage in STAGES} | {f"reason-{reason}" for reason in reasons}
    assert wanted <= drawn
    colors = [re.findall(rf"rect\.{name} {{ fill: (\S+);", page.decode()) for name in wanted]
    assert all(len(found) == 1 for found in colors)
    assert len({color for (color,) in colors}) >= len(STAGES)


def test_page_shows_what_the_run_did(make_report: MakeReport) -> None:
    text = read_text(make_report())

    for said in (
        "Published 24 November 2026 1,190 products have the labels of this run.",
        "1,300 read",
        "quarantined 30",
        "title, description or picture changed 890 not published before 300",
        "tables 5 s diff 20 s encode 40 s",
        "30 contents a second",
        "1 failed 1 warning 1 passed",
        "The classifier was sure enough of the color of 1,100 of 1,190 products (92%)",
        "image: never answered",
        "image+text: answered from 0.88",
        "Some labels need more: red 0.93, teal never.",
        "this run: 67% baseline: 60% published before: 50% 67%800",
        "not sure enough this run: 7.6%",
        "12 of 900 products that were published before have another label in this run",
        "set by a person classifier: red 0.93 before: blue",
        "red 0.93, blue 0.04?",
        "neither image nor text could be read",
    ):
        assert said in text, said


def test_labels_bars_and_changes_lead_to_the_cards_that_have_them(make_report: MakeReport) -> None:
    page = Page(render_page(make_report(), {}))
    cards = [
        set((given["data-facts"] or "").split())
        for _, given in page.elements
        if "data-facts" in given
    ]
    links = {
        given["data-name"]: given["data-fact"]
        for _, given in page.elements
        if given.get("data-fact")
    }

    assert len(cards) == 5 * 6
    for name, products in {
        "color: red": 18,
        "color: not sure enough": 12,
        "color, answered: 0.90 to 0.95": None,
        "color, rests on the picture: 0.40 to 0.45": 30,
        "title, description or picture changed": 30,
    }.items():
        if products is None:
            assert name not in links, "all cards are corrected, or not sure"
        else:
            assert sum(links[name] in facts for facts in cards) == products, name
    assert "color: blue" not in links, "no card has this label"


@pytest.mark.parametrize("state", State)
def test_every_state_of_a_run_is_said_in_words(make_report: MakeReport, state: State) -> None:
    report = make_report(outcome=state)
    text = read_text(report)

    title = state.replace("_", " ").capitalize()
    assert f"{title} 24 November 2026" in text
    waits = state in (State.STAGED, State.BLOCKED, State.APPROVED)
    assert ("--database shop --run-id 20261124-0a1b2c3d" in text) == waits
    assert ("catalog-enrich discard" in text) == waits
    assert title in Page(render_index([report.run], set())).text


def test_rolled_back_run_says_whether_it_can_be_released(make_report: MakeReport) -> None:
    undone = make_report(outcome="rolled_back")
    assert "Undone with run 20261123-0a1b2c3d" in read_text(undone)

    named = read_text(with_run(undone, caused_by=None))
    assert "again as it was before this run" in named
    assert "--run-id 20261124-0a1b2c3d --reason" in named


def test_blocked_run_begins_with_what_the_failed_checks_say(make_report: MakeReport) -> None:
    report = make_report(outcome="blocked")
    checks = tuple(
        replace(report.checks[0], detail=f"{share} % more blue than expected")
        for share in range(10, 20)
    )
    text = read_text(replace(report, checks=checks))

    begin = text.index("10 % more blue"), text.index("1,190 answers wait")
    assert begin == tuple(sorted(begin))
    assert text.count("15 % more blue than expected") == 2, "also in the table of checks"
    assert text.count("16 % more blue than expected") == 1
    assert "And 4 failed checks more" in text
    # Once a person has published it, the checks are history.
    published = read_text(replace(make_report(), checks=checks))
    assert published.count("10 % more blue than expected") == 1


def test_run_without_any_product_has_a_page(empty_report: RunReport) -> None:
    text = read_text(empty_report)

    assert "No check ran: there was nothing to check." in text
    assert "This run has no answers to show." in text


def test_confidence_beside_a_person_s_label_is_of_the_classifier(
    make_report: MakeReport,
) -> None:
    report = make_report()
    (card, *_) = report.gallery.changed
    (said,) = card.answers
    beige = replace(said, label="beige", candidates=(Candidate("white", 0.97),))
    none = replace(beige, label=ABSTAINED)
    shown = tuple(replace(card, answers=(one,)) for one in (beige, none))

    text = read_text(replace(report, gallery=Gallery(changed=shown)))

    changed = text.split("What changed")[1].split("Examples")[0]
    assert changed.count("set by a person classifier: white 0.97") == 2
    assert (changed.count("0.97"), changed.count("none fitsset by")) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "is_unseen", "said"),
    [
        ({"label": "red"}, True, "probably the title is wrong"),
        ({"candidates": (Candidate("red", 0.5), Candidate("blue", 0.2))}, False, "the classifier"),
        ({"label": ABSTAINED}, False, "probably the title is wrong"),
        ({"label": ABSTAINED}, True, None),
    ],
)
def test_page_says_whether_title_or_classifier_is_probably_wrong(
    make_report: MakeReport, changes: dict[str, Any], is_unseen: bool, said: str | None
) -> None:
    report = make_report()
    (card, *_) = report.gallery.contradictions
    card = replace(card, answers=(replace(card.answers[0], **changes),))
    profile = SourceProfile(500, far_away=0.5 if is_unseen else 0.05, attributes={})
    page = replace(report, gallery=Gallery(contradictions=(card,)), profile=profile)
    text = read_text(page)
    assert "title says" in text
    assert (said in text) if said else "probably the" not in text


def test_page_says_what_to_expect_of_a_source(make_report: MakeReport) -> None:
    found = {
        "color": AttributeProfile(0.75, 0.72, named=0.3, contradicted=0.1),
        "pattern": AttributeProfile(0.65, 0.62, named=0.0, contradicted=0.0),
        "style": AttributeProfile(0.9, None, named=0.0, contradicted=0.0),
    }
    text = read_text(replace(make_report(), profile=SourceProfile(500, 0.4, found)))
    said = text.split("What to expect of this source")[1].split("Proved")[0]
    assert "Color72%30%10%" in said
    assert re.search("Pattern.*not to be trusted62%0%-.*Style.*only labels.*tell-0%-", said)


def test_product_without_a_picture_gets_a_placeholder(
    make_report: MakeReport, picture: str
) -> None:
    some = Page(render_page(make_report(), {"pictures/0.jpg": picture}))

    assert some.count("img") == 4  # one a section with pictures
    assert some.text.count("no picture") == 20


def test_abstentions_are_shown_beside_the_most_frequent_of_many_labels(
    make_report: MakeReport,
) -> None:
    report = make_report()
    (color,) = report.attributes
    labels = {f"shade {n}": 100 - n for n in range(35)} | {ABSTAINED: 5_000}
    many = replace(color, labels=labels, before={}, baseline={}, changes=())
    text = read_text(replace(report, attributes=(many,)))

    assert "shade 29" in text and "shade 30" not in text
    assert "And 5 rarer labels" in text
    assert "5,000" in text


def test_shares_beside_each_other_are_told_to_who_cannot_see_bars(make_report: MakeReport) -> None:
    report = make_report()
    labels = {"red": 3, ABSTAINED: 1}
    expected = {"red": 60, ABSTAINED: 40}
    color = replace(report.attributes[0], labels=labels, baseline=expected, before={})
    page = Page(render_page(replace(report, attributes=(color,)), {}))
    told = [given.get("aria-label") for tag, given in page.elements if tag == "svg"]
    assert "this run: 75%, baseline: 60%" in told


def test_commands_are_whole_however_long_a_path_is(make_report: MakeReport) -> None:
    path = f"/volume/{'long-folder/' * 60}<shop>\u202e.yaml"
    report = with_run(make_report(outcome="blocked"), given=GivenFlags(path))
    page = render_page(report, {})

    shown = path.replace("\u202e", " ")
    for decides in ("approve", "discard"):
        whole = f"{decides} --config '{shown}' --database shop --run-id 20261124-0a1b2c3d --reason"
        assert whole in Page(page).text
    assert "\u202e" not in page.decode() and "<shop>" not in page.decode()


def test_a_decision_without_a_file_of_settings_names_the_product_table(
    make_report: MakeReport,
) -> None:
    report = with_run(make_report(outcome="blocked"), given=GivenFlags(), source="/our shop")
    text = Page(render_page(report, {})).text
    for decides in ("approve", "discard"):
        assert f"{decides} --catalog '/our shop' --database shop --run-id" in text


def test_page_says_how_to_review_its_run(make_report: MakeReport) -> None:
    page = Page(render_page(make_report(), {}))
    commands = [shlex.split(one) for one in re.findall(r"catalog-enrich review.*html", page.text)]

    assert [one[one.index("--what") + 1] for one in commands] == ["unsure", "contradictions"]
    for one in commands:
        assert one[one.index("--run-id") + 1] == "20261124-0a1b2c3d"
        assert one[one.index("--config") + 1] == "our shop.yaml"


def test_every_status_and_reason_has_an_explanation() -> None:
    assert set(STATUSES) == set(Status)
    assert set(REASONS) == set(Reason)
    assert set(CAUSES) == {*DUE, Outcome.MISSING}


def test_list_of_runs_links_the_pages_that_there_are(make_report: MakeReport) -> None:
    run = make_report(outcome="blocked").run
    other = replace(run, run_id="another", outcome="published", error=None, reason=None)

    page = Page(render_index([run, other], {run.run_id}, is_cut=True))

    links = [given["href"] for tag, given in page.elements if tag == "a"]
    assert links == [f"{run.run_id}.html"]
    text = " ".join(page.text.split())
    assert text.index("a new season") < text.index("another")
    assert "2 runs of shop" in text
    assert "Older runs are in enrichment_runs." in text
