"""The page as a file: what is on it, what cannot be on it, and how large it gets."""

import base64
import hashlib
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from PIL import ImageColor

from enrich.report.content import STAGES
from enrich.report.formatting import CAUSES, REASONS, STATUSES, format_beside
from enrich.report.page import (
    HISTOGRAM_PX,
    compare_labels,
    find_swatch,
    lay_out_histogram,
    render_index,
    render_page,
)
from schemas.labels import ABSTAINED
from schemas.tables import DUE, Outcome, Reason, State, Status

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

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(found == tag for found, _ in self.elements)


def read_text(report):
    return " ".join(Page(render_page(report, {})).text.split())


def with_run(report, counts=None, **facts):
    """Return the report of a run with other facts, and with some other counts."""
    counts = {**report.run["counts"], **(counts or {})}
    return replace(report, run=report.run | {"counts": counts} | facts)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_stays_text_wherever_it_stands(make_report, picture, kind):
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


def test_pages_allow_nothing_but_their_own_style_script_and_pictures(make_report):
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


def test_control_and_direction_characters_do_not_reach_the_page(make_report):
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
def test_secrets_in_image_addresses_do_not_reach_the_page(make_report, path):
    report = make_report()
    gallery = report.gallery
    (failed, *_), (row, *_) = gallery["failed"], gallery["quarantined"]
    sections = {
        "failed": [failed | {"image_path": path}],
        # A line that is not JSON stands there as a title.
        "quarantined": [row | {"image_path": path}, row | {"title": f'{{"image": "{path}"'}],
    }
    page = render_page(replace(report, gallery=gallery | sections), {}).decode()

    assert "deadbeef" not in page and "AKIAEXAMPLE" not in page
    shown = path.rpartition("@")[2].partition("?")[0]
    assert page.count(shown) == 3, "all else of them is shown"


def test_text_of_a_megabyte_is_cut(make_report):
    # Commands are never cut: ids and paths in them are the run's own.
    report = replace(make_report("x" * 1_000_000), run=make_report().run)
    page = render_page(report, {})

    assert len(page) < 400_000
    assert b"x" * 300 in page
    assert b"x" * 500 not in page


def test_every_stage_and_reason_has_a_color_of_its_own(make_report):
    reasons = dict.fromkeys((*DUE, Outcome.MISSING), 1)
    report = with_run(make_report(), seconds=dict.fromkeys(STAGES, 1.0))
    page = render_page(replace(report, reasons=reasons), {})

    drawn = {attributes["class"] for tag, attributes in Page(page).elements if tag == "rect"}
    wanted = {f"stage-{stage}" for stage in STAGES} | {f"reason-{reason}" for reason in reasons}
    assert wanted <= drawn
    colors = [re.findall(rf"rect\.{name} {{ fill: (\S+);", page.decode()) for name in wanted]
    assert all(len(found) == 1 for found in colors)
    assert len({color for (color,) in colors}) >= len(STAGES)


def test_labels_bars_and_changes_lead_to_the_cards_that_have_them(make_report):
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
def test_every_state_of_a_run_is_said_in_words(make_report, state):
    report = make_report(outcome=state)
    text = read_text(report)

    title = state.replace("_", " ").capitalize()
    assert f"{title} 24 November 2026" in text
    waits = state in (State.STAGED, State.BLOCKED, State.APPROVED)
    assert ("--database shop --run-id 20261124-0a1b2c3d" in text) == waits
    assert ("catalog-enrich discard" in text) == waits
    assert title in Page(render_index([report.run], set())).text


def test_product_without_a_picture_gets_a_placeholder(make_report, picture):
    some = Page(render_page(make_report(), {"pictures/0.jpg": picture}))

    assert some.count("img") == 4  # one a section with pictures
    assert some.text.count("no picture") == 20


def test_commands_are_whole_however_long_a_path_is(make_report):
    path = f"/volume/{'long-folder/' * 60}<shop>\u202e.yaml"
    report = with_run(make_report(outcome="blocked"), given={"config": path})
    page = render_page(report, {})

    shown = path.replace("\u202e", " ")
    for decides in ("approve", "discard"):
        whole = f"{decides} --config '{shown}' --database shop --run-id 20261124-0a1b2c3d --reason"
        assert whole in Page(page).text
    assert "\u202e" not in page.decode() and "<shop>" not in page.decode()


@pytest.mark.parametrize("given", [{}, {"config": "/a.yaml", "catalog": "of the flag"}])
def test_commands_name_the_product_table_that_no_file_of_settings_names(make_report, given):
    report = with_run(make_report(outcome="blocked"), given=given, source="/our shop")
    text = Page(render_page(report, {})).text
    flags = "--config /a.yaml --catalog '/our shop'" if given else "--catalog '/our shop'"
    for decides in ("approve", "discard"):
        assert f"{decides} {flags} --database shop --run-id" in text


def test_page_says_how_to_review_its_run(make_report):
    page = Page(render_page(make_report(), {}))
    commands = [shlex.split(one) for one in re.findall(r"catalog-enrich review.*html", page.text)]

    assert [one[one.index("--what") + 1] for one in commands] == ["unsure", "contradictions"]
    for one in commands:
        assert one[one.index("--run-id") + 1] == "20261124-0a1b2c3d"
        assert one[one.index("--config") + 1] == "our shop.yaml"


def test_every_status_and_reason_has_an_explanation():
    assert set(STATUSES) == set(Status)
    assert set(REASONS) == set(Reason)
    assert set(CAUSES) == {*DUE, Outcome.MISSING}


def test_list_of_runs_links_the_pages_that_there_are(make_report):
    run = make_report(outcome="blocked").run
    other = run | {"run_id": "another", "state": "published", "error": None, "reason": None}

    page = Page(render_index([run, other], {run["run_id"]}, is_cut=True))

    links = [given["href"] for tag, given in page.elements if tag == "a"]
    assert links == [f"{run['run_id']}.html"]
    text = " ".join(page.text.split())
    assert text.index("a new season") < text.index("another")
    assert "2 runs of shop" in text
    assert "Older runs are in enrichment_runs." in text


def test_a_run_that_compared_changes_says_nothing_about_the_whole_table(make_report):
    report = make_report()
    assert "Published before" in read_text(report)
    text = read_text(replace(report, before=replace(report.before, products=None)))
    assert "Published before" not in text
    assert "12 of 900 products that were published before have another label" in text


def test_histogram_stacks_stand_on_one_another_and_the_highest_fills_it():
    blocks = lay_out_histogram({"below": (2, 0, 1), "above": (2, 0, 0)})

    places = [(b.bin, b.style, b.top, b.height) for b in blocks]
    full = HISTOGRAM_PX
    assert places == [
        (0, "below", full / 2, full / 2),
        (2, "below", full * 3 / 4, full / 4),
        (0, "above", 0, full / 2),
    ]


def test_labels_are_compared_by_share_with_abstained_as_the_last_one(make_report):
    attribute = replace(
        make_report().attributes[0],
        labels={ABSTAINED: 6, "red": 1, "blue": 3},
        before={"green": 4},
        baseline={"red": 30, "blue": 10},
    )

    rows = {row.label: row[1:] for row in compare_labels(attribute)}

    assert rows == {
        "blue": (3, 0.3, 0.25, 0),
        "red": (1, 0.1, 0.75, 0),
        "green": (0, 0, 0, 1),
        ABSTAINED: (6, 0.6, 0, 0),
    }
    assert list(rows) == ["blue", "red", "green", ABSTAINED]
    alone = replace(attribute, labels={"red": 2}, before={}, baseline={})
    assert compare_labels(alone) == [("red", 2, 1.0, None, None)]


@pytest.mark.parametrize(
    ("label", "color"),
    [
        ("red", "#ff0000"),
        ("Navy", "#000080"),
        ("light blue", "#add8e6"),
        ("casual", None),
        ("#f00", None),
        # Pillow has kept this one in another form.
        (ImageColor.getrgb("ivory") and "ivory", "#fffff0"),
    ],
)
def test_only_names_of_colors_have_a_swatch(label, color):
    assert find_swatch(label) == color


def test_a_figure_and_what_is_allowed_are_told_apart():
    shown = {
        (0.53, 0.41): ("0.53", "0.41"),
        (0.5291, 0.5288): ("0.5291", "0.5288"),
        (1190.2, 1190.4): ("1190.2", "1190.4"),
        (0, 0): ("0", "0"),
        (None, 0.2): ("-", "0.2"),
    }
    assert {figures: format_beside(*figures) for figures in shown} == shown
