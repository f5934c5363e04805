"""Contents of a run's page, as plain values of bounded size. Knows nothing of HTML."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from schemas.labels import ABSTAINED
from schemas.views import TITLE_IS_WRONG_FROM

from enrich.records import Candidate, confidence_of
from enrich.unseen import SourceProfile

# The stages of a run in their order; the ledger keeps their seconds in no order.
STAGES = (
    *("tables", "diff", "input", "encode", "profile", "answer"),
    *("quarantine", "validation", "publish"),
)

# The baseline of a run whose labels were compared to nothing.
NO_BASELINE = "none"

# Bins of equal width over [0, 1], of confidences and of modality weights.
BINS = 20


class Given(NamedTuple):
    """The arguments of --config and --checkpoint, None where the job had none."""

    config: str | None = None
    checkpoint: str | None = None

    def to_flags(self) -> str:
        """Return both flags as a shell takes them, each with a blank in front."""
        flags = {"--config": self.config, "--checkpoint": self.checkpoint}
        return "".join(f" {flag} {shlex.quote(one)}" for flag, one in flags.items() if one)


_NO_FLAGS = Given()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as its last event tells it; `counts` are those of `schemas.tables.COUNTS`.

    `error` says why the run was stopped, `reason` why a person decided otherwise. `caused_by` is
    the run whose rollback undid this one. `given` are flags of the job that commands on the
    page repeat.
    """

    run_id: str
    outcome: str
    run_date: date
    started_at: datetime
    database: str
    source: str
    source_version: str
    model_version: str
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    trigger: str | None = None
    products_per_second: float | None = None
    error: str | None = None
    reason: str | None = None
    caused_by: str | None = None
    given: Given = _NO_FLAGS

    @property
    def stages(self) -> list[tuple[str, float]]:
        """The seconds in the order of the stages; a stage that is not known here comes last."""
        known = {stage: place for place, stage in enumerate(STAGES)}
        return sorted(self.seconds.items(), key=lambda item: (known.get(item[0], 99), item[0]))


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One row of `label_quality`.

    `attribute` and `category` are None for a check of all products. `baseline` names the expected
    shares at the time of the run; the settings may name others by now.
    """

    expectation: str
    outcome: str
    observed: float | None
    threshold: float | None
    detail: str | None
    attribute: str | None = None
    category: str | None = None
    suite: str | None = None
    baseline: str = NO_BASELINE


class Change(NamedTuple):
    """Number of products whose label went from `old` to `new`; ABSTAINED is a label, too."""

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
    """One attribute in this run, beside the baseline and the table as the run found it.

    `labels`, `before` and `baseline` count products by label. `answered` and `abstained` count
    products by bin of confidence, `image_weights` by bin of the modality-wise attention on the
    image, of products with image and text. `thresholds` is by what was read and what the
    title says: the confidence from which on the classifier answers, in [0, 1], infinite where it
    never does. `truth` is by label, of those that the checkpoint's tests gave.
    """

    name: str
    labels: Mapping[str, int]
    before: Mapping[str, int]
    baseline: Mapping[str, int]
    answered: tuple[int, ...]
    abstained: tuple[int, ...]
    image_weights: tuple[int, ...]
    thresholds: Mapping[str, float]
    changes: tuple[Change, ...] = ()
    truth: Mapping[str, Truth] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """One attribute on the card of a product.

    `label` is for publication: a person's, else the classifier's, ABSTAINED for none. `candidates`
    are the classifier's, the best first. `old` is the label that the run found published, ABSTAINED
    for none, None for a product that was not published. `named` is the one label that the title
    names, None for none or several.
    """

    attribute: str
    label: str
    candidates: tuple[Candidate, ...]
    is_corrected: bool = False
    old: str | None = None
    image_weight: float | None = None
    named: str | None = None

    def find_wrong(self, *, is_unseen: bool) -> str | None:
        """Return which of title and classifier is probably wrong; None where that is unclear.

        As the view `contradictions` has it. `is_unseen` is of the source.
        """
        if is_unseen and self.label == ABSTAINED:
            return None
        best, *others = self.candidates
        said = confidence_of(self.named, others)
        return "title" if best.confidence >= TITLE_IS_WRONG_FROM * said else "classifier"


@dataclass(frozen=True, slots=True)
class Card:
    """One product of the gallery.

    `reason` says why the run answered it, `about` names the attribute that it was chosen for.
    """

    product_id: str | None
    status: str
    answers: tuple[ShownAnswer, ...] = ()
    title: str | None = None
    image_path: str | None = None
    category: str | None = None
    modalities: str | None = None
    error: str | None = None
    reason: str | None = None
    about: str | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """Products to look at. The `status` of a quarantined one is the reason for quarantine."""

    changed: tuple[Card, ...] = ()
    contradictions: tuple[Card, ...] = ()
    unsure: tuple[Card, ...] = ()
    examples: tuple[Card, ...] = ()
    failed: tuple[Card, ...] = ()
    quarantined: tuple[Card, ...] = ()

    @property
    def cards(self) -> tuple[Card, ...]:
        """All cards that show a picture, in the order of the page."""
        return (*self.changed, *self.contradictions, *self.unsure, *self.examples)

    @property
    def pictures(self) -> list[str]:
        """The image paths of these cards."""
        return [card.image_path for card in self.cards if card.image_path]


@dataclass(frozen=True, slots=True)
class Before:
    """The published table as the run found it: `version` of product_attributes, None for today's.

    Of the products that the run answered, `answered_again` were published, and `changed` of them
    have another label in the run.
    """

    version: int | None
    products: int
    answered_again: int
    changed: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Newest certificate of an attribute; `ended_because` is None while it stands."""

    attribute: str
    statement: str
    ended_because: str | None


class ExpectedLabels(NamedTuple):
    """The label baseline: expected products by attribute and label, ABSTAINED among them."""

    name: str
    labels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything on the page.

    `reasons` counts the run's candidates by reason, deletions as `missing`. `statuses` counts the
    answered products, `quarantined` what the run put into quarantine. `attributes` are those that
    the run answered. `proofs` are of the attributes that people have audited. `profile` is
    None where nobody looked at the source.
    """

    run: RunFacts
    checks: tuple[CheckRow, ...]
    attributes: tuple[AttributeFacts, ...]
    before: Before
    gallery: Gallery
    reasons: Mapping[str, int]
    statuses: Mapping[str, int]
    quarantined: Mapping[str, int]
    proofs: tuple[Proof, ...] = ()
    profile: SourceProfile | None = None

    @property
    def is_unseen(self) -> bool:
        """True if the source looks unlike those of training."""
        return self.profile is not None and self.profile.is_unseen

    @property
    def baseline(self) -> str | None:
        """The baseline of its checks."""
        return name_baseline(self.checks)


def name_baseline(checks: Iterable[CheckRow]) -> str | None:
    """Return the baseline that a run's candidates were compared to.

    NO_BASELINE for none, None for candidates that were not checked.
    """
    return next((check.baseline for check in checks if check.suite == "candidates"), None)
