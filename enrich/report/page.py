"""HTML pages of a run and of the list of runs, one file each.

A page loads no other file. Its own script shows the products of a label after a click on the label.
Texts of others are escaped.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from schemas.labels import ABSTAINED, NOT_APPLICABLE
from schemas.tables import Outcome, State

from enrich.redaction import redact
from enrich.report import charts, formatting
from enrich.report.content import BINS, NO_BASELINE, RunFacts, RunReport
from enrich.report.finder import Finder


def render_page(report: RunReport, thumbnails: Mapping[str, str]) -> bytes:
    """Return the page of a run.

    Args:
        report: the contents.
        thumbnails: data: URIs of pictures by image path.
    """
    return render(
        "page.html",
        "page",
        report=report,
        # `Markup`, because these are our own texts: neither escaped nor shortened.
        thumbnails={path: Markup(uri) for path, uri in thumbnails.items()},
        headline=formatting.describe_run(report.run, report.reasons.get(Outcome.MISSING, 0)),
        finder=Finder(report.gallery),
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
        finalize=formatting.make_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "heading": formatting.as_heading,
        "number": formatting.format_number,
        "share": formatting.format_share,
        "said": formatting.format_count,
        "in_words": formatting.name_expectation,
        # Addresses in a product table may hold logins and signatures.
        "redacted": redact,
    }
    environment.globals |= {
        "ABSTAINED": ABSTAINED,
        "NOT_APPLICABLE": NOT_APPLICABLE,
        "BINS": BINS,
        "CAUSES": formatting.CAUSES,
        "HISTOGRAM_PX": charts.HISTOGRAM_PX,
        "NO_BASELINE": NO_BASELINE,
        "Piece": charts.Piece,
        "REASONS": formatting.REASONS,
        "STATUSES": formatting.STATUSES,
        "State": State,
        "compare_labels": charts.compare_labels,
        "find_swatch": charts.find_swatch,
        "format_beside": formatting.format_beside,
        "lay_out_histogram": charts.lay_out_histogram,
        "lay_out_strip": charts.lay_out_strip,
        "name_reviews": formatting.name_reviews,
        "name_state": formatting.name_state,
    }
    return environment
