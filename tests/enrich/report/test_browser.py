"""The page in a real browser: no script but its own, no request, nothing sticks out.

A page of the test's own, with scripts, holds the report in a frame as wide as a screen, clicks,
measures and says what it found. SCREENSHOTS=folder keeps the pictures for a person to look at.
"""

import html
import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import find_browser
from PIL import Image

from enrich.report.content import RunReport
from enrich.report.page import render_index, render_page

from .conftest import MakeReport

WIDTHS_PX = {"phone": 390, "desktop": 1280}
HEIGHT_PX = 3_000

HOSTILE = (
    "<script>window.owned = true; document.title = 'owned'</script>"
    "\"'><img src=http://evil.invalid/a.png onerror='window.owned = true'>"
    "<link rel=stylesheet href=//evil.invalid/a.css><iframe src=http://evil.invalid/></iframe>"
    + "W"
    * 300
)

FRAME = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0 }}</style>
<iframe id="frame" src="{page}" width="{width}" height="{height}" frameborder="0"></iframe>
<p id="found"></p>
<script>
frame.addEventListener("load", () => setTimeout(() => {{
  const inside = frame.contentDocument, width = inside.documentElement.clientWidth;
  inside.querySelectorAll("details").forEach((folded) => {{ folded.open = true; }});
  const stickOut = (element) => element.getBoundingClientRect().right > width + 1;
  const pictures = [...inside.images];
  const shown = () => [...inside.querySelectorAll("[data-facts]")].filter((one) =>
    one.getBoundingClientRect().height > 0);
  const click = (name) => {{
    inside.querySelector(`[data-name="${{name}}"]`).dispatchEvent(
      new MouseEvent("click", {{bubbles: true, cancelable: true}}));
    const bar = inside.getElementById("filter");
    return [shown().length, bar.hidden ? "" : bar.innerText];
  }};
  const filtered = !{clicks}.length ? [] : [shown().length, ...{clicks}.map(click)];
  found.textContent = JSON.stringify({{
    width,
    filtered,
    hash: frame.contentWindow.location.hash,
    scroll_width: inside.documentElement.scrollWidth,
    sticking_out: [...inside.body.querySelectorAll("*")].filter(stickOut)
      .map((one) => one.tagName + "." + one.className).slice(0, 5),
    scripts: inside.scripts.length,
    owned: Boolean(frame.contentWindow.owned),
    background: frame.contentWindow.getComputedStyle(inside.body.firstElementChild).backgroundColor,
    requests: frame.contentWindow.performance.getEntriesByType("resource").map((one) => one.name)
      .filter((name) => !name.startsWith("data:")),
    pictures: pictures.length,
    painted: pictures.filter((one) => one.complete && one.naturalWidth > 0).length,
  }});
}}, 300));
</script>
"""


def make_frame(width: int, clicks: Sequence[str] = ()) -> str:
    """Return a page that holds page.html, and clicks what is called so."""
    named = json.dumps([*clicks])
    return FRAME.format(page="page.html", width=width, height=HEIGHT_PX, clicks=named)


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess]:
    """Returns a function that opens a file in a headless browser of its own."""
    browser = find_browser()
    profile = tmp_path_factory.mktemp("profile")

    def browse(file: Path, *flags: str) -> subprocess.CompletedProcess:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--allow-file-access-from-files",
            f"--user-data-dir={profile}",
            *flags,
            file.as_uri(),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)

    return browse


@pytest.fixture
def measure(
    browse: Callable[..., subprocess.CompletedProcess], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Returns a function that measures a page, by default on a phone."""

    def measure(page: bytes, screen: str = "phone", clicks: Sequence[str] = ()) -> dict[str, Any]:
        (tmp_path / "page.html").write_bytes(page)
        frame = tmp_path / "frame.html"
        frame.write_text(make_frame(WIDTHS_PX[screen], clicks))
        log = tmp_path / "network.json"
        flags = ("--dump-dom", "--virtual-time-budget=5000", f"--log-net-log={log}")
        found = re.search('<p id="found">(.*?)</p>', browse(frame, *flags).stdout)
        assert found and found[1], "the page was not measured"
        asked_network = "evil.invalid" in log.read_text()
        return {**json.loads(html.unescape(found[1])), "asked_network": asked_network}

    return measure


@pytest.fixture
def full_page(make_report: MakeReport, picture: str) -> bytes:
    return render_page(make_report(), {f"pictures/{n}.jpg": picture for n in range(6)})


def test_measuring_notices_what_a_page_should_not_do(measure: Callable[..., Any]) -> None:
    found = measure(f"<!doctype html><title>p</title><p>x</p>{HOSTILE}".encode())

    assert found["owned"]
    assert found["scripts"] == 1
    assert found["scroll_width"] > found["width"]
    assert found["requests"]
    assert found["asked_network"]


@pytest.mark.parametrize("says", [None, HOSTILE], ids=["usual", "hostile"])
@pytest.mark.parametrize("screen", WIDTHS_PX)
def test_page_runs_its_own_script_alone_loads_nothing_and_fits_the_screen(
    measure: Callable[..., Any],
    make_report: MakeReport,
    picture: str,
    screen: str,
    says: str | None,
) -> None:
    thumbnails = {f"pictures/{n}.jpg": picture for n in range(6)}
    report = make_report(says)
    found = measure(render_page(report, thumbnails), screen)

    assert (found["owned"], found["scripts"], found["requests"]) == (False, 1, [])
    assert not found["asked_network"]
    assert found["width"] == WIDTHS_PX[screen]
    assert (found["scroll_width"], found["sticking_out"]) == (found["width"], [])
    assert found["pictures"] == 18
    assert found["background"] in ("rgb(255, 255, 255)", "rgb(29, 33, 37)"), "no style was applied"

    found = measure(render_index([report.run] * 3, {report.run.run_id}), screen)
    assert (found["owned"], found["scripts"], found["requests"]) == (False, 0, [])
    assert (found["scroll_width"], found["sticking_out"]) == (found["width"], [])


def test_a_click_shows_the_products_behind_a_label_or_a_bar(
    measure: Callable[..., Any], full_page: bytes
) -> None:
    page = full_page.replace(b"</footer>", b'<a data-fact="99" data-name="none"></a></footer>')

    found = measure(page, "desktop", ("color: red", "color: not sure enough", "none", ""))

    assert found["filtered"] == [
        24,
        [18, "color: red 18 on this page show all"],
        [6, "color: not sure enough 6 on this page show all"],
        [0, "none 0 on this page show all"],
        [24, ""],
    ]
    assert found["hash"] == "", "a link was followed"


def test_pictures_of_the_page_are_painted(measure: Callable[..., Any], full_page: bytes) -> None:
    found = measure(full_page.replace(b' loading="lazy"', b""), "desktop")

    assert found["painted"] == found["pictures"] == 18


def test_empty_run_fits_a_phone(measure: Callable[..., Any], empty_report: RunReport) -> None:
    found = measure(render_page(empty_report, {}))

    assert found["scroll_width"] == found["width"]


@pytest.mark.parametrize("screen", WIDTHS_PX)
def test_screenshot_shows_charts_and_pictures(
    browse: Callable[..., subprocess.CompletedProcess],
    full_page: bytes,
    tmp_path: Path,
    screen: str,
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "page.html").write_bytes(full_page)
    frame = tmp_path / "frame.html"
    width = WIDTHS_PX[screen]
    frame.write_text(make_frame(width))
    shot = folder / f"report_{screen}.png"

    browse(frame, f"--window-size={width},{HEIGHT_PX}", f"--screenshot={shot}")

    with Image.open(shot) as picture:
        seen = picture.convert("RGB").crop((0, 0, width, HEIGHT_PX))
    colors = {color for _, color in seen.getcolors(1_000_000) or []}
    assert {(31, 122, 114), (176, 132, 32), (224, 165, 140)} <= colors, "no bars of the charts"
    assert any(red > 180 and green < 50 and blue < 50 for red, green, blue in colors), "no picture"
