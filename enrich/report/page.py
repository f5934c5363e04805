"""HTML pages of a run and of the list of runs, one file each.

A page loads no other file. Its own script shows the products of a label after a click on the label.
Texts of others are escaped.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from schemas.labels import ABSTAINED, NOT_APPLICABLE
from schemas.tables import Outcome, State

from enrich.redaction import redact
from enrich.report import charts, words
from enrich.report.content import BINS, NO_BASELINE, RunFacts, RunReport
from enrich.report.finder import Finder

MAX_PAGE_BYTES = 3_000_000
# Number of labels of each attribute on a page that would be too large with more.
_FEW_LABELS = 10


class Extent(NamedTuple):
    """Extent of a page: numbers of attributes and of frequent labels, and cards."""

    attributes: int
    labels: int = 30
    cards: bool = True


def render_page(
    report: RunReport, thumbnails: Mapping[str, str], max_bytes: int = MAX_PAGE_BYTES
) -> bytes:
    """Return the page of a run, shortened if it would be too large.

    The page leaves out, in this order, the last thumbnails, all cards, rare labels, and the last
    attributes, and names what it leaves out.

    Args:
        report: the contents.
        thumbnails: data: URIs of pictures by image path, the most wanted first.
        max_bytes: the largest size allowed.

    Raises:
        ValueError: the shortest page is too large.
    """
    page = b""
    for extent in _shrink(len(report.attributes)):
        page = _render_with_pictures(report, thumbnails, extent, max_bytes)
        if len(page) <= max_bytes:
            return page
    raise ValueError(
        f"The page of run {report.run.run_id} is too large: found {len(page):,} bytes at its "
        f"shortest, expected at most {max_bytes:,}."
    )


def render_index(
    runs: Sequence[RunFacts], pages: Collection[str], *, is_cut: bool = False
) -> bytes:
    """Return the list of runs.

    Args:
        runs: the newest first.
        pages: ids of the runs that have a page beside it.
        is_cut: older runs are left out.
    """
    return render("index.html", "page", runs=runs, pages=pages, is_cut=is_cut)


def _shrink(attributes: int) -> Iterator[Extent]:
    yield Extent(attributes)
    yield Extent(attributes, cards=False)
    while attributes:
        yield Extent(attributes, labels=_FEW_LABELS, cards=False)
        attributes //= 2


def _render_with_pictures(
    report: RunReport, thumbnails: Mapping[str, str], extent: Extent, max_bytes: int
) -> bytes:
    """Return the page with as many thumbnails as it may hold."""
    kept = dict(thumbnails) if extent.cards else {}
    cards = Counter(report.gallery.pictures)
    page = _render_run(report, kept, extent)
    while (excess := len(page) - max_bytes) > 0 and kept:
        while kept and excess > 0:
            path, picture = kept.popitem()
            excess -= len(picture) * cards[path]
        page = _render_run(report, kept, extent)
    return page


def _render_run(report: RunReport, thumbnails: Mapping[str, str], extent: Extent) -> bytes:
    return render(
        "page.html",
        "page",
        report=report,
        extent=extent,
        # `Markup`, because these are our own texts: neither escaped nor shortened.
        thumbnails={path: Markup(uri) for path, uri in thumbnails.items()},
        headline=words.describe_run(report.run, report.reasons.get(Outcome.MISSING, 0)),
        finder=Finder(report.gallery),
    )


def render(template: str, script: str, **content: Any) -> bytes:
    """Return a page with the common style sheet, and the sheet of its script's name."""
    inline = {name: Markup(text) for name, text in _read_inline(script).items()}
    page = _templates().get_template(template).render(**content, **inline)
    return page.encode("utf-8", errors="replace")


@cache
def _read_inline(script: str) -> dict[str, str]:
    """Return style sheet and script, and their digests for the page's content policy."""
    sheets = dict.fromkeys(("page.css", f"{script}.css"))
    found = {"style": "".join(map(_read, sheets)), "script": _read(f"{script}.js")}
    for name, text in [*found.items()]:
        digest = hashlib.sha256(text.encode()).digest()
        found[f"{name}_digest"] = f"sha256-{base64.b64encode(digest).decode()}"
    return found


def _read(file: str) -> str:
    return files("enrich.report").joinpath(f"templates/{file}").read_text("utf-8")


@cache
def _templates() -> Environment:
    """Return the templates; values in them are made printable, then escaped."""
    environment = Environment(
        loader=PackageLoader("enrich.report"),
        autoescape=True,
        finalize=words.make_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "heading": words.as_heading,
        "number": words.format_number,
        "share": words.format_share,
        "said": words.format_count,
        "in_words": words.name_expectation,
        # Addresses in a product table may hold logins and signatures.
        "redacted": redact,
    }
    environment.globals |= {
        "ABSTAINED": ABSTAINED,
        "NOT_APPLICABLE": NOT_APPLICABLE,
        "BINS": BINS,
        "CAUSES": words.CAUSES,
        "HISTOGRAM_PX": charts.HISTOGRAM_PX,
        "NO_BASELINE": NO_BASELINE,
        "Piece": charts.Piece,
        "REASONS": words.REASONS,
        "STATUSES": words.STATUSES,
        "State": State,
        "compare_labels": charts.compare_labels,
        "find_swatch": charts.find_swatch,
        "format_beside": words.format_beside,
        "lay_out_histogram": charts.lay_out_histogram,
        "lay_out_strip": charts.lay_out_strip,
        "name_correction": words.name_correction,
        "name_reviews": words.name_reviews,
        "name_state": words.name_state,
    }
    return environment
