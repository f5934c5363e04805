"""Review page: one HTML file in which people label products, and its questions.

The page opens without a network, keeps choices over a reload, and saves labels in the format of
`enrich.files.labels`. Pure functions rank the questions, one for each aim.
"""

import hashlib
import json
import math
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from operator import itemgetter

from markupsafe import Markup

from enrich.images.store import ImageStore
from enrich.records import Candidate, confidence_of
from enrich.report.formatting import make_printable
from enrich.report.page import find_swatch, render
from enrich.report.thumbnails import make_thumbnails

MAX_PAGE_BYTES = 5_000_000
# Bytes of a picture, however many products a page has.
_FEWEST_BYTES, _MOST_BYTES = 10_000, 40_000
_SIDE_PX = 560
_CANDIDATES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """The classifier's answer for one attribute of a product.

    `candidates` are the best labels, the best first. From `threshold` on the classifier answers;
    it is infinite if it never does. `named` is the label that the text names, None for 0 or
    several labels.
    """

    product_id: str
    attribute: str
    candidates: tuple[Candidate, ...]
    abstained: bool
    threshold: float = math.inf
    named: str | None = None

    @property
    def label(self) -> str:
        """The best label."""
        return self.candidates[0].label

    @property
    def confidence(self) -> float:
        """The probability of the best label, in [0, 1]."""
        return self.candidates[0].confidence

    @property
    def margin(self) -> float:
        """Difference of confidence between the best label and the next one, in [0, 1]."""
        return self.confidence - (self.candidates[1].confidence if self.candidates[1:] else 0.0)


Answers = Iterable[Answer]


def rank_unsure(answers: Answers) -> list[Answer]:
    """Return the answers that the classifier withheld, nearest to the threshold first.

    In an unseen source, real thresholds are higher than those here: confidences far above a
    threshold are of an attribute that is not answered there.
    """

    def distance(one: Answer) -> tuple[float, float, str]:
        return abs(one.threshold - one.confidence), -one.confidence, one.product_id

    return sorted((one for one in answers if one.abstained), key=distance)


def rank_contradictions(answers: Answers) -> list[Answer]:
    """Return the answers whose text names another label, the least likely text first."""

    def likelihood(one: Answer) -> tuple[float, float, str, str]:
        named = confidence_of(one.named, one.candidates)
        return named / one.confidence, -one.confidence, one.product_id, one.attribute

    return sorted((one for one in answers if one.named not in (None, one.label)), key=likelihood)


def rank_attribute(answers: Answers) -> list[Answer]:
    """Return the answers by margin, smallest first, each best label in turn."""
    turns: defaultdict[str, count[int]] = defaultdict(count)
    by_margin = sorted(answers, key=lambda one: (one.margin, one.product_id))
    in_turn = [(next(turns[one.label]), one) for one in by_margin]
    return [one for _, one in sorted(in_turn, key=itemgetter(0))]


RANKINGS: Mapping[str, Callable[[Answers], list[Answer]]] = {
    "unsure": rank_unsure,
    "contradictions": rank_contradictions,
    "attribute": rank_attribute,
}
# The aim of a page whose questions `enrich.spark.audit` draws.
AUDIT = "audit"
_TITLES = {
    AUDIT: "Audit: what do you see?",
    "unsure": "Not sure enough to publish",
    "contradictions": "Text and answer differ",
    "attribute": "Most informative first",
}


def choose_answers(aim: str, answers: Answers, number: int) -> list[Answer]:
    """Return the first answers of an aim's ranking, grouped by attribute."""
    chosen = RANKINGS[aim](answers)[:number]
    order = {attribute: n for n, attribute in enumerate(dict.fromkeys(a.attribute for a in chosen))}
    return sorted(chosen, key=lambda one: order[one.attribute])


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an attribute of a product; a blind one has no candidates."""

    product_id: str
    attribute: str
    title: str | None
    image_path: str | None
    candidates: tuple[Candidate, ...] = ()
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Review:
    """Everything on a review page.

    `aim` is AUDIT or a key of RANKINGS. Labels of an audit go to `catalog-enrich audit`, others to
    `corrections import`; `flags` are for these.
    """

    aim: str
    database: str
    questions: Sequence[Question]
    attribute_labels: Mapping[str, Sequence[str]]
    flags: Sequence[str] = ()

    @property
    def is_audit(self) -> bool:
        """True for a blind page, without the classifier's answers."""
        return self.aim == AUDIT


def render_review(review: Review, store: ImageStore, max_bytes: int = MAX_PAGE_BYTES) -> bytes:
    """Return the page, with pictures that fit into `max_bytes` for up to 300 products."""
    paths = [*dict.fromkeys(q.image_path for q in review.questions if q.image_path)]
    spare = 0.74 * (max_bytes - len(_render(review, {})))
    share = int(spare / max(1, len(paths)))
    most_bytes = min(max(share, _FEWEST_BYTES), _MOST_BYTES)
    return _render(review, make_thumbnails(store, paths, _SIDE_PX, most_bytes))


def _render(review: Review, pictures: Mapping[str, str]) -> bytes:
    data = _describe(review, [*pictures])
    # The browser keeps choices under this name.
    named = json.dumps([review.database, review.aim, data])
    identity = hashlib.sha256(named.encode()).hexdigest()[:12]
    taker = "audit --labels" if review.is_audit else "corrections import --file"
    flags = "".join(f" {shlex.quote(flag)}" for flag in review.flags)
    data |= {"id": identity, "command": f"catalog-enrich {taker}", "flags": flags}
    data |= {"needs_name": not review.is_audit, "pictures": [*pictures.values()]}
    # Only these characters could end a script element.
    escaped = json.dumps(data).translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})
    return render(
        "review.html",
        "review",
        review=review,
        heading=_TITLES[review.aim],
        data=Markup(escaped),
    )


def _describe(review: Review, pictures: Sequence[str]) -> dict[str, object]:
    places = {path: place for place, path in enumerate(pictures)}
    asked = {question.attribute for question in review.questions}
    return {
        "blind": review.is_audit,
        "attributes": {
            attribute: [[label, find_swatch(label)] for label in labels]
            for attribute, labels in review.attribute_labels.items()
            if attribute in asked
        },
        "questions": [
            {
                "product_id": question.product_id,
                "attribute": question.attribute,
                "title": make_printable(question.title or ""),
                "picture": places.get(question.image_path or "", -1),
                "best": [] if review.is_audit else _best(question, review.attribute_labels),
                "abstained": question.abstained and not review.is_audit,
            }
            for question in review.questions
        ],
    }


def _best(
    question: Question, attribute_labels: Mapping[str, Sequence[str]]
) -> list[tuple[str, float]]:
    """Return the best labels with probabilities, without those of another checkpoint."""
    known = attribute_labels[question.attribute]
    named = [(one.label, round(one.confidence, 4)) for one in question.candidates]
    return [pair for pair in named if pair[0] in known][:_CANDIDATES_SHOWN]
