"""Review page: one HTML file in which people label products, and its questions.

The page opens without a network, keeps choices over a reload, and saves labels in the format of
`enrich.files.labels`.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from enrich.images.store import ImageStore
from enrich.records import Candidate
from enrich.report.formatting import make_printable
from enrich.report.page import find_swatch, make_thumbnails, render

MAX_PAGE_BYTES = 5_000_000
# Bytes of a picture, however many products a page has.
_FEWEST_BYTES, _MOST_BYTES = 10_000, 40_000
_SIDE_PX = 560
_CANDIDATES_SHOWN = 3


# What a page asks first. `enrich.spark.review` ranks the questions.
AIMS = ("unsure", "contradictions", "attribute")
# The aim of a page whose questions `enrich.spark.audit` draws.
AUDIT = "audit"
_TITLES = {
    AUDIT: "Audit: what do you see?",
    "unsure": "Not sure enough to publish",
    "contradictions": "Text and answer differ",
    "attribute": "Most informative first",
}


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

    `aim` is AUDIT or one of AIMS. Labels of an audit go to `catalog-enrich audit`, others to
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
