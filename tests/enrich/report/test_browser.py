"""The page in a real browser: no script but its own, no request, nothing sticks out.

SCREENSHOTS=folder keeps the pictures for a person to look at.
"""

import os
from pathlib import Path

import pytest
from PIL import Image

from enrich.report.page import render_index, render_page

WIDTHS_PX = {"phone": 390, "desktop": 1280}
HEIGHT_PX = 3_000
HOSTILE = (
    "<script>window.owned = true; document.title = 'owned'</script>"
    "\"'><img src=http://evil.invalid/a.png onerror='window.owned = true'>"
    "<link rel=stylesheet href=//evil.invalid/a.css><iframe src=http://evil.invalid/></iframe>"
    + "W"
    * 300
)
MEASURE = """(() => {
  const width = document.documentElement.clientWidth, pictures = [...document.images];
  document.querySelectorAll("details").forEach((folded) => { folded.open = true; });
  const sticksOut = (element) => element.getBoundingClientRect().right > width + 1;
  return {
    width,
    scroll_width: document.documentElement.scrollWidth,
    sticking_out: [...document.body.querySelectorAll("*")].filter(sticksOut)
      .map((one) => one.tagName + "." + one.className).slice(0, 5),
    scripts: document.scripts.length,
    owned: Boolean(window.owned),
    background: getComputedStyle(document.body.firstElementChild).backgroundColor,
    pictures: pictures.length,
    painted: pictures.filter((one) => one.complete && one.naturalWidth > 0).length,
  };
})()"""
# Click on what has this name; return how many products are shown, and what the bar says.
CLICK = """((name) => {
  const bar = document.getElementById("filter");
  document.querySelector(`[data-name="${name}"]`).click();
  const shown = [...document.querySelectorAll("[data-facts]")].filter((one) =>
    one.getBoundingClientRect().height > 0);
  return [shown.length, bar.hidden ? "" : bar.innerText];
})"""


@pytest.fixture
def measure(tab, tmp_path):
    """Returns a function that opens a page and measures it, by default as wide as a phone."""

    def measure(page, screen="phone"):
        (tmp_path / "page.html").write_bytes(page)
        tab.resize(WIDTHS_PX[screen], HEIGHT_PX)
        tab.requests.clear()
        tab.open(tmp_path / "page.html")
        found = dict(tab.run(MEASURE))
        asked = [one for one in tab.requests if not one.startswith(("data:", "file:"))]
        return found | {"requests": asked}

    return measure


@pytest.fixture
def full_page(make_report, picture):
    return render_page(make_report(), {f"pictures/{n}.jpg": picture for n in range(6)})


def test_measuring_notices_what_a_page_should_not_do(measure):
    found = measure(f"<!doctype html><title>p</title><p style=width:900px>{HOSTILE}".encode())
    assert found["owned"] and found["scripts"] == 1
    assert found["scroll_width"] > found["width"] and "P." in found["sticking_out"]
    assert any("evil.invalid" in address for address in found["requests"])


@pytest.mark.parametrize("says", [None, HOSTILE], ids=["usual", "hostile"])
@pytest.mark.parametrize("screen", WIDTHS_PX)
def test_page_runs_its_own_script_alone_loads_nothing_and_fits_the_screen(
    measure, make_report, picture, screen, says
):
    report = make_report(says)
    page = render_page(report, {f"pictures/{n}.jpg": picture for n in range(6)})
    index = render_index([report.run] * 3, {report.run["run_id"]})
    for shown, scripts, pictures in ((page, 1, 24), (index, 0, 0)):
        found = measure(shown, screen)
        assert (found["owned"], found["scripts"], found["requests"]) == (False, scripts, [])
        assert found["width"] == WIDTHS_PX[screen]
        assert (found["scroll_width"], found["sticking_out"]) == (found["width"], [])
        assert found["pictures"] == pictures
        assert found["background"] in ("rgb(255, 255, 255)", "rgb(29, 33, 37)"), "lacks its style"


def test_a_click_shows_the_products_behind_a_label_or_a_bar(tab, measure, full_page):
    measure(full_page.replace(b"</footer>", b'<a data-fact="99" data-name="none"></a></footer>'))
    names = ("color: red", "color: not sure enough", "none", "")
    assert [tab.run(f"{CLICK}({name!r})") for name in names] == [
        [18, "color: red 18 on this page show all"],
        [12, "color: not sure enough 12 on this page show all"],
        [0, "none 0 on this page show all"],
        [30, ""],
    ]
    assert tab.run("location.hash") == "", "a link was followed"


def test_empty_run_fits_a_phone(measure, empty_report):
    found = measure(render_page(empty_report, {}))
    assert found["scroll_width"] == found["width"]


def test_screenshots_show_charts_and_pictures(tab, measure, full_page, tmp_path):
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    measure(full_page, "desktop")
    seen = set[tuple[int, int, int]]()
    for part in ("products", "attribute-1"):
        tab.run(f"document.getElementById('{part}').scrollIntoView({{behavior: 'instant'}})")
        tab.screenshot(folder / f"report_{part}.png")
        with Image.open(folder / f"report_{part}.png") as picture:
            seen |= {color for _, color in picture.convert("RGB").getcolors(1_000_000) or []}
    assert any(red > 180 and green < 50 and blue < 50 for red, green, blue in seen), "no picture"
    assert {(31, 122, 114), (176, 132, 32), (224, 165, 140)} <= seen, "no bars of the charts"
