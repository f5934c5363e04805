"""Turns a run's report into one HTML file: no network, no script, hostile text escaped."""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from schemas.labels import ABSTAINED

from enrich.redaction import redact
from enrich.report import charts, labels, words
from enrich.report.content import BINS, NO_BASELINE, RunReport

MAX_PAGE_BYTES = 3_000_000


def render_page(
    report: RunReport, thumbnails: Mapping[str, str], max_bytes: int = MAX_PAGE_BYTES
) -> bytes:
    """Returns the page; the last thumbnails are left out where it would be too large.

    Args:
        report: What to show.
        thumbnails: data: URIs of pictures by image path, the most wanted first.
        max_bytes: What the page may hold.

    Raises:
        ValueError: even without pictures it is too large.
    """
    kept, cards = dict(thumbnails), Counter(report.gallery.pictures)
    page = _render(report, kept)
    while (excess := len(page) - max_bytes) > 0:
        if not kept:
            raise ValueError(
                f"the page is {len(page):,} bytes without pictures, allowed are {max_bytes:,}"
            )
        while kept and excess > 0:
            path, picture = kept.popitem()
            excess -= len(picture) * cards[path]
        page = _render(report, kept)
    return page


def _render(report: RunReport, thumbnails: Mapping[str, str]) -> bytes:
    style = files("enrich.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = (
        _templates()
        .get_template("page.html")
        .render(
            report=report,
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
        "compare_labels": labels.compare_labels,
        "find_swatch": labels.find_swatch,
        "lay_out_histogram": charts.lay_out_histogram,
        "lay_out_strip": charts.lay_out_strip,
    }
    return environment
