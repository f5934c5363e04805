"""What a run's page shows, as plain values of bounded size. Knows nothing of HTML."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from schemas.tables import SUCCEEDED, Outcome
from schemas.verdict import NO_BASELINE

from enrich.records import Candidate

# A run's stages in the order in which they run; the ledger keeps their seconds in no order, and
# cannot know how long its own writing takes.
STAGES = (
    "tables",
    "survey",
    "input",
    "reuse",
    "inference",
    "quarantine",
    "validation",
    "publish",
)

# Bins of equal width over [0, 1], of confidences and of modality weights.
BINS = 20


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The run itself, as the ledger has it.

    `asked` counts the products that the classifier was asked about, in as many `seconds` of its
    stage; `error` says why the run was stopped, `reason` why a person decided otherwise.
    `settings_file` is what --config named, None for the job's default; `deletes_missing` is what it
    says of published rows whose product is gone.
    """

    run_id: str
    outcome: str
    run_date: date
    database: str
    catalog: str
    catalog_version: str
    model_version: str
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    asked: int | None = None
    products_per_second: float | None = None
    error: str | None = None
    reason: str | None = None
    settings_file: str | None = None
    deletes_missing: bool = False

    @property
    def ran_through(self) -> bool:
        """Whether nothing stopped it or took it back: only then is nothing left of it that was."""
        return self.error is None and self.outcome in (*SUCCEEDED, Outcome.STAGED)

    @property
    def keeps_answers(self) -> bool:
        """Whether its staged rows are still there to be shown."""
        return self.outcome != Outcome.DROPPED

    @property
    def stages(self) -> list[tuple[str, float]]:
        """The seconds in the order of the stages; a stage that is not known here comes last."""
        known = {stage: place for place, stage in enumerate(STAGES)}
        return sorted(self.seconds.items(), key=lambda item: (known.get(item[0], 99), item[0]))


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One row of `label_quality`; `attribute` and `category` are None where it is of all.

    `baseline` is what was held against then; the settings may name another one by now.
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
    """How many products went from one published label to another; ABSTAINED is one."""

    old: str
    new: str
    products: int


@dataclass(frozen=True, slots=True)
class AttributeFacts:
    """One attribute in this run, beside the baseline and the table as it was published before.

    `labels`, `before` and `baseline` count products by label. `answered` and `abstained` count
    products by bin of confidence, `image_weights` by bin of the modality-wise attention on the
    image, of products with image and text. `thresholds` is by set of modalities, None where
    nothing is ever answered.
    """

    name: str
    labels: Mapping[str, int]
    before: Mapping[str, int]
    baseline: Mapping[str, int]
    answered: tuple[int, ...]
    abstained: tuple[int, ...]
    image_weights: tuple[int, ...]
    thresholds: Mapping[str, float | None]
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What one product's card says of one attribute.

    `label` is what is published, ABSTAINED where that is none; `candidates` are the classifier's,
    the best first. `old` is the label published before, None for a product that was not.
    """

    attribute: str
    label: str
    candidates: tuple[Candidate, ...]
    is_corrected: bool = False
    old: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One product of the gallery; `about` is the attribute that it was chosen for, if for one."""

    product_id: str | None
    status: str
    answers: tuple[ShownAnswer, ...] = ()
    title: str | None = None
    image_path: str | None = None
    category: str | None = None
    modalities: str | None = None
    error: str | None = None
    about: str | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """Products to look at; the status of a quarantined one is the reason."""

    changed: tuple[Card, ...] = ()
    unsure: tuple[Card, ...] = ()
    sure: tuple[Card, ...] = ()
    failed: tuple[Card, ...] = ()
    quarantined: tuple[Card, ...] = ()

    @property
    def pictures(self) -> list[str]:
        """The image paths of all cards that show a picture, in the order of the page."""
        cards = (*self.changed, *self.unsure, *self.sure)
        return [card.image_path for card in cards if card.image_path]


@dataclass(frozen=True, slots=True)
class Before:
    """The published table as it was before the run.

    Of the run's products `seen_again` were in it, and `changed` of these got another label.
    """

    version: int
    written_at: datetime | None
    products: int
    seen_again: int
    changed: int


class ExpectedLabels(NamedTuple):
    """The label baseline: expected products by attribute and label, ABSTAINED among them."""

    name: str
    labels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything on the page. `statuses` counts this run's products, `quarantined` its new rows."""

    run: RunFacts
    checks: tuple[CheckRow, ...]
    attributes: tuple[AttributeFacts, ...]
    before: Before
    gallery: Gallery
    statuses: Mapping[str, int]
    quarantined: Mapping[str, int]

    @property
    def baseline(self) -> str | None:
        """What `name_baseline` says of its checks."""
        return name_baseline(self.checks)


def name_baseline(checks: Iterable[CheckRow]) -> str | None:
    """Returns the baseline that a run's answers were held against, NO_BASELINE for none.

    None where they were not checked.
    """
    return next((check.baseline for check in checks if check.suite == "candidates"), None)
