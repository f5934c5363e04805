"""Turns a run's report into one HTML file: no network, no script, hostile text escaped."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from schemas.labels import ABSTAINED
from schemas.verdict import NO_BASELINE

from enrich.redaction import redact
from enrich.report import charts, labels, words
from enrich.report.content import BINS, RunReport

MAX_PAGE_BYTES = 3_000_000
# Of each attribute, on a page that would be too large with more.
_FEW_LABELS = 10


class Extent(NamedTuple):
    """How much of a report its page shows: the first attributes, their commonest labels, cards."""

    attributes: int
    labels: int = 30
    cards: bool = True


def render_page(
    report: RunReport, thumbnails: Mapping[str, str], max_bytes: int = MAX_PAGE_BYTES
) -> bytes:
    """Returns the page; where it would be too large, it says what is left out.

    That is what is missed least: the last thumbnails, then all cards, rarer labels, and in the end
    the last attributes.

    Args:
        report: What to show.
        thumbnails: data: URIs of pictures by image path, the most wanted first.
        max_bytes: What the page may hold.

    Raises:
        ValueError: even without any of these it is too large.
    """
    page = b""
    for extent in _shrink(len(report.attributes)):
        page = _render_with_pictures(report, thumbnails, extent, max_bytes)
        if len(page) <= max_bytes:
            return page
    raise ValueError(f"the page is {len(page):,} bytes at its shortest, allowed are {max_bytes:,}")


def _shrink(attributes: int) -> Iterator[Extent]:
    yield Extent(attributes)
    yield Extent(attributes, cards=False)
    while attributes:
        yield Extent(attributes, labels=_FEW_LABELS, cards=False)
        attributes //= 2


def _render_with_pictures(
    report: RunReport, thumbnails: Mapping[str, str], extent: Extent, max_bytes: int
) -> bytes:
    """Returns the page with as many thumbnails as it may hold."""
    kept = dict(thumbnails) if extent.cards else {}
    cards = Counter(report.gallery.pictures)
    page = _render(report, kept, extent)
    while (excess := len(page) - max_bytes) > 0 and kept:
        while kept and excess > 0:
            path, picture = kept.popitem()
            excess -= len(picture) * cards[path]
        page = _render(report, kept, extent)
    return page


def _render(report: RunReport, thumbnails: Mapping[str, str], extent: Extent) -> bytes:
    style = files("enrich.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = (
        _templates()
        .get_template("page.html")
        .render(
            report=report,
            extent=extent,
            # `Markup`, because these are no words of others: neither escaped nor shortened.
            thumbnails={path: Markup(uri) for path, uri in thumbnails.items()},
            style=Markup(style),
            style_digest=Markup(digest),
            headline=words.describe_outcome(report.run),
        )
    )
    return page.encode("utf-8", errors="replace")


@cache
def _templates() -> Environment:
    """Returns the templates; everything that they write is made printable, then escaped."""
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
        "said": words.say_count,
        "in_words": words.name_expectation,
        # What the shop wrote: its addresses may hold logins and signatures.
        "redacted": redact,
    }
    environment.globals |= {
        "ABSTAINED": ABSTAINED,
        "BINS": BINS,
        "NO_BASELINE": NO_BASELINE,
        "HISTOGRAM_PX": charts.HISTOGRAM_PX,
        "Piece": charts.Piece,
        "STATUSES": words.STATUSES,
        "REASONS": words.REASONS,
        "format_beside": words.format_beside,
        "compare_labels": labels.compare_labels,
        "find_swatch": labels.find_swatch,
        "lay_out_histogram": charts.lay_out_histogram,
        "lay_out_strip": charts.lay_out_strip,
    }
    return environment
