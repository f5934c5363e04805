"""Contents of a run's page, and its choice of products, without HTML."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.labels import ABSTAINED
from schemas.views import TITLE_IS_WRONG_FROM

from enrich.records import Candidate, confidence_of
from enrich.unseen import SourceProfile

# Stages of a run in their order; the ledger keeps their seconds without an order.
STAGES = (
    *("tables", "diff", "input", "encode", "profile", "answer"),
    *("quarantine", "validation", "publish"),
)

# Baseline of a run whose labels were not compared to a baseline.
NO_BASELINE = "none"

# Bins of equal width over [0, 1], of confidences and of modality weights.
BINS = 20

# Of a table, perhaps with more fields.
Row = Mapping[str, Any]


def order_stages(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return seconds by stage in the order of STAGES; unknown stages come last."""
    known = {stage: place for place, stage in enumerate(STAGES)}
    return sorted(seconds.items(), key=lambda item: (known.get(item[0], 99), item[0]))


class Change(NamedTuple):
    """Number of products whose label changed; ABSTAINED counts as a label."""

    old: str
    new: str
    products: int


class Truth(NamedTuple):
    """Share of right answers among those of one label, in tests of the checkpoint.

    `low` and `high` are its 95 % interval; all in [0, 1].
    """

    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AttributeFacts:
    """One attribute in this run, with the baseline and the published table before it.

    `labels`, `before` and `baseline` count products by label. `answered` and `abstained` count
    products by bin of confidence. `image_weights` counts products with image and text by bin of the
    modality-wise attention on the image. `thresholds` is by modalities and by what the title names:
    the confidence from which on the classifier answers, in [0, 1], or infinity. `floors` is by
    label, for labels that need a higher one at least sometimes. `truth` is by label, for labels in
    the checkpoint's tests.
    """

    name: str
    labels: Mapping[str, int]
    before: Mapping[str, int]
    baseline: Mapping[str, int]
    answered: tuple[int, ...]
    abstained: tuple[int, ...]
    image_weights: tuple[int, ...]
    thresholds: Mapping[str, float]
    floors: Mapping[str, float] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    truth: Mapping[str, Truth] = field(default_factory=dict)


# Products of the page by section. A card has `product_id`, `status`, `title`, `image_path`,
# `product_category`, `modalities`, `error`, `reason` (why the run answered the product), `about`
# (the attribute that it was chosen for, None in the last two sections), and `answers`. The `status`
# of a quarantined row is the reason for it. An answer has `attribute`; `label` for publication,
# ABSTAINED or NOT_APPLICABLE for none; `is_corrected`, if a person gave it; `candidates` of the
# classifier, the best first; `old`, the published label before the run, None for a product that was
# not published; `image_weight`; and `named`, the single label that the title names, or None.
Gallery = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Before:
    """Published table before the run; `version` is None for today's table.

    Its products are counted only by a run that compared all of them, else `products` is None.
    `answered_again` of the run's products had been published, and `changed` of those have another
    label in the run.
    """

    version: int | None
    products: int | None
    answered_again: int
    changed: int


class ExpectedLabels(NamedTuple):
    """Label baseline: expected products by attribute and label, including ABSTAINED."""

    name: str
    labels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything on the page.

    `run` is the last event of the run, a row of `run_events`, with `database`, `counts` (those of
    `schemas.tables.COUNTS`), and `given`: flags of the job, by name, that commands on the page
    repeat.

    `reasons` counts the run's candidates by reason, deletions as `missing`. `statuses` counts the
    answered products, `quarantined` the run's findings. `attributes` are those that the run
    answered. `checks` are rows of `label_quality`, `proofs` rows of the view `certificates`, one an
    audited attribute. `profile` is None for a source without a profile.
    """

    run: Row
    checks: Sequence[Row]
    attributes: tuple[AttributeFacts, ...]
    before: Before
    gallery: Gallery
    reasons: Mapping[str, int]
    statuses: Mapping[str, int]
    quarantined: Mapping[str, int]
    proofs: Sequence[Row] = ()
    profile: SourceProfile | None = None

    @property
    def is_unseen(self) -> bool:
        """True if the source looks unlike those of training."""
        return self.profile is not None and self.profile.is_unseen

    @property
    def baseline(self) -> str | None:
        """Baseline of the checks."""
        return name_baseline(self.checks)


def name_baseline(checks: Iterable[Row]) -> str | None:
    """Return the baseline that a run's candidates were compared to.

    NO_BASELINE for none, None for candidates that were not checked.
    """
    return next((check["baseline"] for check in checks if check["suite"] == "candidates"), None)


# Number of cards in each section.
SECTIONS = {
    "changed": 24,
    "contradictions": 12,
    "unsure": 18,
    "examples": 36,
    "failed": 18,
    "quarantined": 18,
}
# Sections whose cards are about an attribute, and show a picture.
_PICTURED = ("changed", "contradictions", "unsure", "examples")
# Number of products that are offered for each part of a section.
CARDS_A_PART = 6
# Between an attribute and its labels in the name of a part.
SEPARATOR = "\x1f"


def fill_gallery(rows: Iterable[Row], counts: Mapping[str, int]) -> Gallery:
    """Return the gallery, with as many cards as each section holds.

    Rows are products offered, with the fields of a card, `section`, `part` and `place`. A part
    of a section is a status, a reason, or an attribute and its labels. `counts` has the number of
    products of a part, for parts with labels; larger parts come first.
    """
    by_section: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_section[row["section"]].append(row)
    return {
        name: [_card(row) for row in _choose(name, by_section[name], counts)] for name in SECTIONS
    }


def pictured_cards(gallery: Gallery) -> list[Row]:
    """Return the cards that show a picture, in the order of the page."""
    return [card for name in _PICTURED for card in gallery[name]]


def find_likely_error(answer: Row, *, is_unseen: bool) -> str | None:
    """Return the one of "title" and "classifier" that is probably wrong, or None.

    The rule is that of the view `contradictions`. `is_unseen` is a property of the source.
    """
    if is_unseen and answer["label"] == ABSTAINED:
        return None
    best, *others = answer["candidates"]
    named_confidence = confidence_of(answer["named"], others)
    return "title" if best.confidence >= TITLE_IS_WRONG_FROM * named_confidence else "classifier"


def _choose(section: str, rows: list[Row], counts: Mapping[str, int]) -> Sequence[Row]:
    """Return the rows of a section, taking turns between attributes and their parts."""
    rows.sort(key=lambda row: (row["place"], -counts.get(row["part"], 0), row["part"]))
    if section == "examples":
        # A product appears once: its first place is an example of all its labels.
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row["product_id"], row)
        rows = [*first.values()]
    turns: Counter[str] = Counter()
    in_turn = []
    for row in rows:
        group = _group(row)
        in_turn.append((turns[group], group, row))
        turns[group] += 1
    in_turn.sort(key=lambda one: one[:2])
    chosen = in_turn[: SECTIONS[section]]
    return [row for _, _, row in sorted(chosen, key=lambda one: (one[1], one[0]))]


def _group(row: Row) -> str:
    group, _, _ = row["part"].partition(SEPARATOR)
    return group


def _card(row: Row) -> Row:
    about = _group(row) if row["section"] in _PICTURED else None
    return {**row, "about": about, "answers": [_answer(one) for one in row["answers"] or ()]}


def _answer(answer: Row) -> Row:
    pairs = [(one["label"], one["confidence"]) for one in answer["candidates"]]
    candidates = [Candidate(label, math.nan if c is None else c) for label, c in pairs]
    return {**answer, "candidates": candidates}
