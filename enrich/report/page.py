"""HTML pages of a run and of the list of runs, one file each.

A page loads no other file. Its own script shows the products of a label after a click on the label:
it has numbers of facts only, such as ("label", "color", "red"), so no text of a product table is
ever part of a script or of a selector. Texts of others are escaped. `templates/charts.html` draws
charts as inline SVG: widths are in percent, heights in pixels. Pictures are encoded anew from
decoded pixels, so their original bytes, and any metadata in them, never reach a page.
"""

import base64
import hashlib
import io
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageColor
from schemas.labels import ABSTAINED, NOT_APPLICABLE
from schemas.tables import Outcome, State

from enrich.errors import redact
from enrich.images.decoding import decode
from enrich.images.settings import ImageProblem
from enrich.images.store import ImageStore
from enrich.report import formatting
from enrich.report.content import (
    BINS,
    NO_BASELINE,
    AttributeFacts,
    Gallery,
    Row,
    RunReport,
    find_likely_error,
    order_stages,
    pictured_cards,
)

SIDE_PX = 220
# A page has 90 thumbnails at most: in base64 these are 2.2 MB.
MOST_BYTES = 18_000
_QUALITY = 70
_THREADS = 4
# For a picture with too many bytes: first these qualities, then fewer pixels.
_LOWER_QUALITIES = (55, 40)
_SMALLEST_PX = 64


def render_page(report: RunReport, thumbnails: Mapping[str, str]) -> bytes:
    """Return the page of a run, whose thumbnails are data: URIs by image path."""
    return render(
        "page.html",
        "page",
        report=report,
        # `Markup`, because these are our own texts: neither escaped nor shortened.
        thumbnails={path: Markup(uri) for path, uri in thumbnails.items()},
        headline=formatting.describe_run(report.run, report.reasons.get(Outcome.MISSING, 0)),
        finder=Finder(report.gallery),
    )


def render_index(runs: Sequence[Row], pages: Collection[str], *, is_cut: bool = False) -> bytes:
    """Return the list of runs, the newest first.

    Runs are those of `RunReport.run`. The runs of `pages` have a page beside it. `is_cut` says that
    older runs are left out.
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
        "HISTOGRAM_PX": HISTOGRAM_PX,
        "NO_BASELINE": NO_BASELINE,
        "Piece": Piece,
        "REASONS": formatting.REASONS,
        "STATUSES": formatting.STATUSES,
        "State": State,
        "compare_labels": compare_labels,
        "find_likely_error": find_likely_error,
        "find_swatch": find_swatch,
        "format_beside": formatting.format_beside,
        "lay_out_histogram": lay_out_histogram,
        "lay_out_strip": lay_out_strip,
        "name_reviews": formatting.name_reviews,
        "name_state": formatting.name_state,
        "order_stages": order_stages,
        "pictured_cards": pictured_cards,
    }
    return environment


class FactCount(NamedTuple):
    """Number of a fact, and the number of cards and rows of the page that share it."""

    number: int
    products: int


class Finder:
    """Facts of the products on a page."""

    def __init__(self, gallery: Gallery) -> None:
        shown = [*pictured_cards(gallery), *gallery["failed"]]
        counts = Counter(fact for card in shown for fact in set(_facts_of(card)))
        self._found = {fact: FactCount(n, counts[fact]) for n, fact in enumerate(counts, 1)}

    def find(self, *fact: str) -> FactCount | None:
        """Return the count of a fact, None if the page has no product with it."""
        return self._found.get(fact)

    def numbers(self, card: Row) -> str:
        """Return the numbers of a card's facts, separated by blanks."""
        numbers = (self._found[fact].number for fact in _facts_of(card) if fact in self._found)
        return " ".join(map(str, sorted(set(numbers))))


def _facts_of(card: Row) -> Iterator[tuple[str, ...]]:
    yield "status", card["status"]
    if card["reason"]:
        yield "reason", card["reason"]
    for answer in card["answers"]:
        attribute, label, old = answer["attribute"], answer["label"], answer["old"]
        yield "label", attribute, label
        if old is not None and old != label:
            yield "change", attribute, old, label
        confidence = answer["candidates"][0].confidence
        # The threshold is of the classifier's own label.
        if not answer["is_corrected"] and not math.isnan(confidence):
            yield "abstained" if label in _NO_LABEL else "answered", attribute, bin_of(confidence)
        if answer["image_weight"] is not None:
            yield "weight", attribute, bin_of(answer["image_weight"])


def bin_of(share: float) -> str:
    """Return the bin of a number in [0, 1]; 1 belongs to the last one."""
    return str(min(int(share * BINS), BINS - 1))


HISTOGRAM_PX = 120
_NO_LABEL = (ABSTAINED, NOT_APPLICABLE)


class Piece(NamedTuple):
    """A named part of a whole; `style` is a class of the style sheet.

    `fact` is the common property of its products, as `_facts_of` names it.
    """

    name: str
    amount: float
    style: str
    fact: tuple[str, ...] = ()


class Segment(NamedTuple):
    """A piece with its place in a strip, in percent of the strip's width."""

    piece: Piece
    start: float
    width: float


def lay_out_strip(pieces: Sequence[Piece]) -> list[Segment]:
    """Return the pieces side by side over the whole width, without those of amount 0."""
    pieces = [piece for piece in pieces if piece.amount > 0]
    whole = sum(piece.amount for piece in pieces)
    ends = accumulate(100 * piece.amount / whole for piece in pieces)
    return [
        Segment(piece, end - (width := 100 * piece.amount / whole), width)
        for piece, end in zip(pieces, ends, strict=True)
    ]


class Block(NamedTuple):
    """One rectangle of a histogram: its bin, its style and its place, top down."""

    bin: int
    style: str
    products: int
    top: float
    height: float


def lay_out_histogram(stacks: Mapping[str, Sequence[int]]) -> list[Block]:
    """Return rectangles of counts by bin, stacked by style in the order of `stacks`."""
    highest = max((sum(counts) for counts in zip(*stacks.values(), strict=True)), default=0)
    blocks = []
    below = [0] * len(next(iter(stacks.values())))
    for style, counts in stacks.items():
        for place, count in enumerate(counts):
            below[place] += count
            if count:
                top = HISTOGRAM_PX * (1 - below[place] / highest)
                blocks.append(Block(place, style, count, top, HISTOGRAM_PX * count / highest))
    return blocks


class LabelRow(NamedTuple):
    """One label; a share of all products is in [0, 1], None if there are no products."""

    label: str
    products: int
    share: float | None
    baseline: float | None
    before: float | None

    @property
    def shares(self) -> tuple[float, ...]:
        """Known shares."""
        return tuple(s for s in (self.share, self.baseline, self.before) if s is not None)


def compare_labels(attribute: AttributeFacts) -> list[LabelRow]:
    """Return a row for every label, the most frequent first; no label is last.

    Labels are those of the run, of the published table before it, and of the baseline.
    """
    names = {*attribute.labels, *attribute.before, *attribute.baseline}
    rows = [
        LabelRow(
            label=name,
            products=attribute.labels.get(name, 0),
            share=_share(attribute.labels, name),
            baseline=_share(attribute.baseline, name),
            before=_share(attribute.before, name),
        )
        for name in names
    ]
    return sorted(rows, key=_most_frequent_first)


def find_swatch(label: str) -> str | None:
    """Return the color that a label names, as #rrggbb, None for any other label."""
    name = label.lower().replace(" ", "")
    if name not in ImageColor.colormap:
        return None
    red, green, blue, *_ = ImageColor.getrgb(name)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _share(products: Mapping[str, int], label: str) -> float | None:
    counted = sum(products.values())
    return products.get(label, 0) / counted if counted else None


def _most_frequent_first(row: LabelRow) -> tuple[bool, list[float], str]:
    return row.label in _NO_LABEL, [-share for share in row.shares], row.label


def make_thumbnails(
    store: ImageStore,
    image_paths: Iterable[str],
    side_px: int = SIDE_PX,
    most_bytes: int = MOST_BYTES,
) -> dict[str, str]:
    """Return the thumbnail of every path whose picture can be read."""
    paths = list(dict.fromkeys(image_paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        made = pool.map(lambda path: make_thumbnail(store, path, side_px, most_bytes), paths)
        return {path: uri for path, uri in zip(paths, made, strict=True) if uri}


def make_thumbnail(
    store: ImageStore, image_path: str, side_px: int = SIDE_PX, most_bytes: int = MOST_BYTES
) -> str | None:
    """Return the picture as a data: URI, None if it cannot be read.

    Neither side is longer than `side_px`. Before it is written as a URI, the picture has
    `most_bytes` bytes at most.
    """
    try:
        picture = decode(store.read(image_path), limits=store.limits, target_px=side_px)
    except ImageProblem:
        return None
    for side, quality in _sizes(side_px):
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        encoded = _encode(picture, quality)
        if len(encoded) <= most_bytes:
            break
    return "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")


def _sizes(side_px: int) -> Iterator[tuple[int, int]]:
    """Yield sides and qualities to try, the best first."""
    side = side_px
    while side >= min(side_px, _SMALLEST_PX):
        yield side, _QUALITY
        yield from ((side, quality) for quality in _LOWER_QUALITIES)
        side = side * 3 // 4


def _encode(picture: Image.Image, quality: int) -> bytes:
    # A picture that decode() made holds pixels only: copied, so that nothing in `info` is saved.
    encoded = io.BytesIO()
    bare = Image.new("RGB", picture.size)
    bare.paste(picture)
    bare.save(encoded, "WEBP", quality=quality, method=4)
    return encoded.getvalue()
