"""The review page, and what people's keys and touches make of it."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enrich.files.labels import read_labels
from enrich.images.store import ImageStore
from enrich.records import Candidate
from enrich.report.review import Question, Review, render_review

LABELS = {"color": ("navy", "red", "rose", "blue"), "shirt_fit": ("slim", "wide")}
HOSTILE = (
    "</script><script>window.owned = true</script><!--<img src=http://evil.invalid/a.png "
    "onerror='window.owned = true'>\u2028\" + alert(1) + \""
)


def questions(number, title="a shirt"):
    best = tuple(Candidate(label, 0.6 - place / 5) for place, label in enumerate(LABELS["color"]))
    return [
        Question(f"={n}", "color", f"{title} {n}", f"{n}.jpg", best[:3], abstained=True)
        for n in range(number)
    ]


def data_of(page):
    found = re.search(rb'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return dict(json.loads(found[1]))


def test_a_blind_page_holds_nothing_of_the_answers(tmp_path):
    store = ImageStore(str(tmp_path))
    shown, blind = (
        data_of(render_review(Review(aim, "shop", questions(3), LABELS), store))["questions"]
        for aim in ("unsure", "audit")
    )
    assert [one["best"][0] for one in shown] == [["navy", 0.6]] * 3
    assert [(one["best"], one["abstained"]) for one in blind] == [([], False)] * 3


def test_labels_of_an_audit_go_to_the_audit(tmp_path):
    taken_by = {
        aim: data_of(render_review(Review(aim, "s", questions(1), LABELS, ["--a"]), store))
        for store in [ImageStore(str(tmp_path))]
        for aim in ("unsure", "audit")
    }
    assert taken_by["unsure"]["command"].endswith("corrections import --file")
    assert taken_by["audit"]["command"].endswith("audit --labels")
    assert taken_by["audit"]["flags"] == " --a"


def test_pictures_are_as_large_as_fit_into_the_page(tmp_path):
    noise = np.random.default_rng(0)
    for n in range(8):
        pixels = noise.integers(0, 255, (700, 500, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.jpg")
    review = Review("unsure", "shop", questions(8, "long " * 99), LABELS)

    page = render_review(review, ImageStore(str(tmp_path)), max_bytes=180_000)

    assert len(data_of(page)["pictures"]) == 8
    assert 135_000 < len(page) <= 180_000


def write_page(folder, review):
    for question in review.questions:
        Image.new("RGB", (60, 80), (200, 30, 30)).save(folder / str(question.image_path))
    (folder / "review.html").write_bytes(render_review(review, ImageStore(str(folder))))
    return folder / "review.html"


def download(tab, folder):
    """Return the labels that the page hands over, by product."""
    rows = read_labels(tab.download("#save", folder), LABELS)
    assert rows["by"].tolist() == ["Ana, of the shop"] * len(rows)
    assert rows["at"].notna().all()
    return dict(zip(rows["product_id"], rows["label"], strict=True))


def test_keys_label_products_over_a_reload_and_come_back_as_labels(tab, tmp_path):
    page = write_page(
        tmp_path, Review("unsure", "shop", questions(12), LABELS, ["--database", "s"])
    )
    tab.resize(1280, 800)
    tab.open(page, downloads=tmp_path)
    tab.run("document.getElementById('by').focus()")
    tab.press(*"Ana, of the shop", "Enter")

    tab.press("1", "2", "1")
    assert tab.text("done") == "3 of 12"
    tab.reload()
    assert tab.text("done") == "3 of 12" and tab.text("product") == "=3"
    tab.press("n", "x", " ")
    tab.press("r", "r", "Enter")  # the second value with an r: rose
    tab.press("a", "Enter")  # n is a command, so navy is at a
    tab.press("3", "u", "1", "9", "1", "1", "1")

    assert tab.text("summary") == "11 labelled, 1 skipped."
    assert tab.text("command").startswith("catalog-enrich corrections import --file labels-")
    assert tab.text("command").endswith(".csv --database s")
    assert download(tab, tmp_path) == {
        "=0": "navy",
        "=1": "red",
        "=2": "navy",
        "=3": "not_applicable",
        "=4": "other",
        "=6": "rose",
        **dict.fromkeys(["=7", "=8", "=9", "=10", "=11"], "navy"),
    }
    first = set(tmp_path.glob("labels-*.csv"))
    tab.run("document.getElementById('again').click()")
    assert tab.text("product") == "=5"
    tab.press("1")
    assert download(tab, tmp_path)["=5"] == "navy"
    (second,) = set(tmp_path.glob("labels-*.csv")) - first
    assert f"--file {second.name} " in tab.text("command")


def test_estimate_falls_to_nothing_where_the_best_values_are_right(tab, tmp_path):
    sure = (Candidate("red", 0.88), Candidate("rose", 0.1))
    asked = [replace(one, candidates=sure, abstained=False) for one in questions(30)]
    tab.open(write_page(tmp_path, Review("attribute", "shop", asked, LABELS)))

    assert tab.text("worth") == "all 30 left are worth a look"
    tab.press(*"11111")
    assert tab.text("worth") == "you can stop: the rest is most likely right"
    tab.press(*"222")
    assert tab.text("worth") == "all 22 left are worth a look"


def test_texts_of_others_are_shown_and_never_run(tab, tmp_path):
    hostile = [replace(questions(1)[0], title=HOSTILE, product_id=HOSTILE)]
    labels = {"color": (*LABELS["color"], HOSTILE)}
    candidates = (Candidate(HOSTILE, 0.9),)
    asked = [replace(one, candidates=candidates) for one in hostile]
    page = write_page(tmp_path, Review("unsure", HOSTILE, asked, labels))
    tab.requests.clear()
    tab.open(page)

    assert tab.text("product").startswith("</script><script>window.owned")
    assert not tab.run("Boolean(window.owned)")
    assert tab.run("document.scripts.length") == 2
    assert [one for one in tab.requests if not one.startswith(("data:", "file:"))] == []
    tab.press("1")
    assert tab.text("done") == "1 of 1"


@pytest.mark.parametrize(("aim", "width"), [("unsure", 390), ("audit", 390), ("unsure", 1280)])
def test_page_fits_its_screen_and_takes_touches(tab, tmp_path, aim, width):
    page = write_page(tmp_path, Review(aim, f"shop{width}", questions(3, "W" * 300), LABELS))
    tab.resize(width, 844, is_phone=width < 500)
    tab.open(page)

    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run("document.getElementById('picture').naturalWidth") == 60
    if width < 500:
        tab.tap('[data-label="red"]')
    else:
        tab.press("2")
    second = "new MouseEvent('click', {detail: 2, bubbles: true})"
    tab.run(f"document.querySelector('[data-label]').dispatchEvent({second})")
    assert tab.text("done") == "1 of 3"
    if folder := os.environ.get("SCREENSHOTS"):
        tab.screenshot(Path(folder) / f"review_{aim}_{width}.png")
