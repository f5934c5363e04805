"""Choice of cards, and what on the page leads to them."""

from enrich.report.content import SECTIONS, SEPARATOR, fill_gallery
from enrich.report.page import Finder, bin_of


def offered(section, part, place, product_id):
    row = dict.fromkeys(
        ("title", "image_path", "modalities", "error", "reason", "answers", "product_category")
    )
    keys = {"section": section, "part": part, "place": place, "product_id": product_id}
    return {**row, **keys, "status": "ok"}


def part(*names):
    return SEPARATOR.join(names)


def test_every_attribute_gets_its_share_and_frequent_labels_come_first():
    room = SECTIONS["examples"]
    labels = [f"label {n:02}" for n in range(room)]
    rows = [offered("examples", part("color", label), 1, f"c-{label}") for label in labels]
    rows += [offered("examples", part("style", label), 1, f"s-{label}") for label in labels]
    counts = {part("color", label): number for number, label in enumerate(labels)}

    cards = fill_gallery(rows, counts)["examples"]

    assert [card["about"] for card in cards] == ["color"] * (room // 2) + ["style"] * (room // 2)
    colors = [card["product_id"] for card in cards if card["about"] == "color"]
    assert colors == [f"c-{label}" for label in labels[: room // 2 - 1 : -1]]


def test_second_products_of_a_label_come_after_first_ones_of_all():
    rows = [
        offered("changed", part("color", "red", "blue"), place, f"often {place}")
        for place in (1, 2, 3)
    ]
    rows.append(offered("changed", part("color", "blue", "red"), 1, "once"))

    cards = fill_gallery(rows, {part("color", "red", "blue"): 9})["changed"]

    assert [card["product_id"] for card in cards] == ["often 1", "once", "often 2", "often 3"]


def test_an_example_stands_once_for_all_its_labels():
    rows = [offered("examples", part(name, "x"), 1, "same") for name in ("color", "style")]
    rows.append(offered("examples", part("style", "x"), 2, "another"))

    cards = fill_gallery(rows, {})["examples"]

    assert [(card["product_id"], card["about"]) for card in cards] == [
        ("same", "color"),
        ("another", "style"),
    ]


def test_shares_fall_into_bins_of_equal_width():
    assert [bin_of(share) for share in (0.0, 0.05, 0.999, 1.0)] == ["0", "1", "19", "19"]


def test_a_fact_leads_to_the_cards_that_share_it():
    answer = {
        "attribute": "color",
        "label": "red",
        "is_corrected": False,
        "old": "blue",
        "image_weight": None,
        "named": None,
        "candidates": [{"label": "red", "confidence": 0.93}],
    }
    rows = [offered("examples", part("color", "red"), n, f"p{n}") for n in (1, 2)]
    rows[0] |= {"answers": [answer], "reason": "changed"}
    gallery = fill_gallery(rows, {})

    finder = Finder(gallery)

    labelled, bare = gallery["examples"]
    numbers = {
        fact: found.number
        for fact in (
            ("label", "color", "red"),
            ("change", "color", "blue", "red"),
            ("answered", "color", "18"),
            ("reason", "changed"),
            ("status", "ok"),
        )
        if (found := finder.find(*fact))
    }
    assert len(numbers) == 5
    assert finder.numbers(labelled).split() == sorted(map(str, numbers.values()))
    assert finder.numbers(bare) == str(numbers["status", "ok"])
    status = finder.find("status", "ok")
    assert status and status.products == 2
    assert finder.find("label", "color", "blue") is None
