"""Output tables as DDL: columns, types, comments and values.

Attributes are a checkpoint's. Keys come first: Delta keeps statistics of the first 32 columns.
Names and texts from outside are quoted for Spark's SQL.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

ALTERNATIVE = "STRUCT<label: STRING, confidence: DOUBLE>"
PREDICTION = (
    "STRUCT<attribute: STRING, label: STRING, confidence: DOUBLE, abstained: BOOLEAN, "
    f"image_weight: DOUBLE, alternatives: ARRAY<{ALTERNATIVE}>, named: STRING, "
    "abstention: STRING>"
)
PREDICTIONS = f"ARRAY<{PREDICTION}>"
# Ordered by attribute, so that equal corrections are equal values.
CORRECTIONS = "ARRAY<STRUCT<attribute: STRING, label: STRING, corrected_by: STRING>>"
_CONFIDENCE = "calibrated probability of the best label, in [0, 1]"


class Status(StrEnum):
    """Result of reading a product; the value of column `status`."""

    OK = "ok"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_FORBIDDEN = "image_forbidden"
    TEXT_EMPTY = "text_empty"
    WORKER_CRASHED = "worker_crashed"


# Problems with an image. IMAGE_MISSING also means that a product names no image: see its `error`.
IMAGE_PROBLEMS = tuple(one for one in Status if one.startswith("image_"))


class Modalities(StrEnum):
    """Modalities that an answer rests on; the value of column `modalities`."""

    IMAGE_AND_TEXT = "image+text"
    IMAGE = "image"
    TEXT = "text"

    @classmethod
    def of(cls, has_image: bool, has_text: bool) -> "Modalities":
        """Return the modalities of a product with an image, a text, or both.

        Raises:
            ValueError: the product has neither.
        """
        if has_image:
            return cls.IMAGE_AND_TEXT if has_text else cls.IMAGE
        if has_text:
            return cls.TEXT
        raise ValueError("an answer rests on an image or a text")


class Outcome(StrEnum):
    """Outcome of the diff for one product; for a due product it is the reason."""

    MALFORMED = "malformed"  # the reader could not parse the row
    NULL_ID = "null_id"
    DUPLICATE_ID = "duplicate_id"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"  # a newer run has published this product
    HELD_BACK = "held_back"  # a rolled-back run had published this content
    QUARANTINED = "quarantined"  # an accepted run found that this content cannot be read
    NEW = "new"
    CHANGED = "changed"
    RETRIED = "retried"  # the picture was out of reach
    REANSWERED = "reanswered"  # another checkpoint or target precision, or a full refresh
    REVISED = "revised"  # only the category or people's corrections differ
    MISSING = "missing"  # published, and no longer in the product table


BROKEN = (Outcome.MALFORMED, Outcome.NULL_ID, Outcome.DUPLICATE_ID)
# Products that need an encoding of their content.
TO_ANSWER = (Outcome.NEW, Outcome.CHANGED, Outcome.RETRIED, Outcome.REANSWERED)
DUE = (*TO_ANSWER, Outcome.REVISED)
# The gate checks these outcomes: the others are not a sample of the catalog.
VALIDATED = (Outcome.NEW, Outcome.CHANGED, Outcome.REANSWERED)


class Op(StrEnum):
    """Effect of a candidate on its published row."""

    UPSERT = "upsert"
    DELETE = "delete"


class DiffKind(StrEnum):
    """Products that a diff compares: all, or changes since another run."""

    FULL = "full"
    CHANGES = "changes"


class Reason(StrEnum):
    """Reason for a row in `quarantine`."""

    MALFORMED = "malformed"
    NULL_ID = "null_id"
    DUPLICATE_ID = "duplicate_id"
    NO_MODALITY = "no_modality"
    WORKER_CRASHED = "worker_crashed"


class State(StrEnum):
    """State of a run; each event of `run_events` enters one."""

    STARTED = "started"
    STAGED = "staged"
    BLOCKED = "blocked"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    NOTHING_TO_DO = "nothing_to_do"
    APPROVED = "approved"
    DISCARDED = "discarded"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    RELEASED = "released"
    SUPERSEDED = "superseded"
    FAILED = "failed"


# States of runs that ended as requested.
SUCCEEDED = (State.PUBLISHED, State.NOTHING_TO_DO)

# Subject of a check: a run's products, or its candidates; column `suite` of `label_quality`.
Suite = Literal["input", "candidates"]


class CheckOutcome(StrEnum):
    """Outcome of a check, from good to bad. A warning is reported and does not block."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


# In the order of the stages; `run_events` has a column for each.
COUNTS = {
    "read": "rows of the product table = published + unchanged + withheld + quarantined",
    "due": "products whose published row is missing or out of date",
    "encoded": "contents that were encoded by this run",
    "reused": "contents of due products that were encoded before",
    "answered": "due products with an answer",
    "published": "rows that this run wrote to product_attributes",
    "unchanged": "products whose published row still holds, or is newer",
    "withheld": "due products that are not published, and products held back by a rollback",
    "quarantined": "rows without a usable id or a readable modality",
    "missing": "published rows whose product is no longer in the product table",
    "deleted": "of the missing, rows that were deleted",
    "images_opened": "pictures that the encoder decoded",
    "images_compared": "pictures whose bytes were read to see whether they changed",
}

IMAGES = """
    path STRING NOT NULL COMMENT 'image_path of the product table; of several rows the last counts',
    size BIGINT COMMENT 'bytes; NULL: look again',
    etag STRING COMMENT 'as the store has it; NULL on a local disk',
    modified_at TIMESTAMP COMMENT 'UTC',
    digest STRING COMMENT 'SHA-256 of the bytes, hex',
    run_id STRING NOT NULL COMMENT 'the run that looked',
    looked_at TIMESTAMP NOT NULL COMMENT 'UTC'"""

ENCODINGS = """
    run_id STRING NOT NULL COMMENT 'the run that encoded this content',
    content_hash STRING NOT NULL COMMENT 'digest of the normalised text and the image',
    encoder_version STRING NOT NULL COMMENT 'digest of everything the vectors depend on',
    encoded_at TIMESTAMP NOT NULL COMMENT 'UTC; of several rows the latest that holds counts',
    status STRING NOT NULL COMMENT 'what could be read',
    limits STRING NOT NULL COMMENT 'digest of the image limits, allowed roots and hosts',
    modalities STRING COMMENT 'what the vectors rest on; NULL when nothing could be read',
    error STRING COMMENT 'why, for people',
    vectors BINARY COMMENT 'float16; names and shapes are in the checkpoint'"""

QUARANTINE = f"""
    run_id STRING NOT NULL COMMENT 'the run that found it',
    product_id STRING COMMENT 'as found; NULL when that is the reason',
    reason STRING NOT NULL COMMENT 'one of {", ".join(Reason)}',
    status STRING COMMENT 'what could be read; NULL where the row itself is broken',
    error STRING COMMENT 'for people',
    content_hash STRING NOT NULL COMMENT 'digest of the normalised text and the image',
    limits STRING NOT NULL COMMENT 'digest of the image limits, allowed roots and hosts',
    found_at TIMESTAMP NOT NULL COMMENT 'UTC',
    run_date DATE NOT NULL COMMENT 'logical date of that run',
    title STRING COMMENT 'raw input',
    description STRING COMMENT 'raw input',
    image_path STRING COMMENT 'raw input'"""

_COUNT_COLUMNS = ",\n".join(f"    {name} BIGINT COMMENT '{text}'" for name, text in COUNTS.items())
RUN_EVENTS = f"""
    run_id STRING NOT NULL COMMENT 'key, with number',
    number INT NOT NULL COMMENT 'of the events of a run, from 0',
    state STRING NOT NULL COMMENT 'one of {", ".join(State)}',
    at TIMESTAMP NOT NULL COMMENT 'UTC',
    trigger STRING COMMENT '--run-id, such as the id of an Airflow run',
    run_date DATE NOT NULL COMMENT 'logical date',
    started_at TIMESTAMP NOT NULL COMMENT 'UTC',
    is_whole BOOLEAN NOT NULL COMMENT 'the whole product table was read: no --limit',
    full_refresh BOOLEAN NOT NULL COMMENT '--full-refresh',
    source STRING NOT NULL COMMENT 'the product table',
    source_version STRING NOT NULL COMMENT 'its Delta version, or a digest of its files',
    diff STRING NOT NULL COMMENT 'full: all products were compared; changes: those that may differ',
    settings STRING NOT NULL COMMENT 'digest of the settings that a diff depends on',
    compared_version BIGINT COMMENT 'Delta version of product_attributes that the diff began with',
    encoder_version STRING NOT NULL COMMENT 'digest of everything the vectors depend on',
    model_version STRING NOT NULL COMMENT 'checkpoint, content digest and target precision',
    caused_by STRING COMMENT 'of a rolled-back run: the run whose rollback undid it, NULL: its own',
    published_version BIGINT COMMENT 'Delta version of product_attributes that the run committed',
{_COUNT_COLUMNS},
    abstained MAP<STRING, BIGINT> COMMENT 'per attribute, of the answered',
    seconds MAP<STRING, DOUBLE> COMMENT 'per stage',
    products_per_second DOUBLE COMMENT 'contents encoded in a second',
    encoding MAP<STRING, DOUBLE> COMMENT 'figures of encoding, such as slots_busy and task_retries',
    error STRING COMMENT 'why the run was stopped, perhaps to be published by a person',
    reason STRING COMMENT 'why a person approved, discarded or rolled back the run'"""

SOURCE_PROFILES = """
    source STRING NOT NULL COMMENT 'the product table of that run',
    encoder_version STRING NOT NULL COMMENT 'of several of an encoder the last counts',
    looked_at TIMESTAMP NOT NULL COMMENT 'UTC',
    run_id STRING NOT NULL COMMENT 'the run that looked',
    products BIGINT NOT NULL COMMENT 'products of the sample',
    far_away DOUBLE NOT NULL COMMENT 'share of them that look unlike those of training, in [0, 1]',
    is_unseen BOOLEAN NOT NULL COMMENT 'it counts as unseen: unseen_source: strict answers less',
    rise DOUBLE NOT NULL COMMENT 'by how much thresholds rise then, in log odds',
    attributes MAP<STRING, STRUCT<mean_confidence: DOUBLE, expected_accuracy: DOUBLE, named: DOUBLE,
        contradicted: DOUBLE>> NOT NULL COMMENT 'what to expect of each; all in [0, 1]'"""

ATTRIBUTE_CORRECTIONS = """
    product_id STRING NOT NULL COMMENT 'key; of several for one attribute the last counts',
    attribute STRING NOT NULL COMMENT 'color, pattern, ...',
    label STRING COMMENT 'the label; NULL, not_applicable, other: none of the labels fits',
    corrected_by STRING NOT NULL COMMENT 'who says so',
    corrected_at TIMESTAMP NOT NULL COMMENT 'UTC',
    note STRING COMMENT 'for people'"""

LABEL_QUALITY = f"""
    run_id STRING NOT NULL COMMENT 'the run that was validated',
    run_date DATE NOT NULL COMMENT 'logical date of that run',
    model_version STRING NOT NULL COMMENT 'checkpoint, content digest and target precision',
    baseline STRING NOT NULL COMMENT 'name of the label baseline, or none',
    suite STRING COMMENT 'input: before encoding; candidates: before publishing',
    attribute STRING COMMENT 'NULL for checks of the whole table',
    category STRING COMMENT 'NULL for checks of all products',
    expectation STRING NOT NULL COMMENT 'type of the expectation in Great Expectations',
    observed DOUBLE COMMENT 'mostly a share of products, in [0, 1]; NULL: not evaluated',
    threshold DOUBLE COMMENT 'what the settings allow, in the same unit',
    allowance DOUBLE COMMENT 'what chance adds to the threshold in a run of this size',
    outcome STRING NOT NULL COMMENT 'one of {", ".join(CheckOutcome)}',
    detail STRING COMMENT 'finding and limit as a sentence',
    products ARRAY<STRING> COMMENT 'ids that a failed check is about, at most 1000'"""

AUDIT_ANSWERS = """
    audit_id STRING NOT NULL COMMENT 'the draw; key, with product_id and attribute',
    product_id STRING NOT NULL COMMENT 'that was drawn',
    attribute STRING NOT NULL COMMENT 'color, pattern, ...',
    published_label STRING NOT NULL COMMENT 'as it was at the draw, of the classifier',
    product_category STRING COMMENT 'as the catalog had it',
    model_version STRING NOT NULL COMMENT 'checkpoint, content digest and target precision',
    source STRING NOT NULL COMMENT 'the product table',
    run_id STRING NOT NULL COMMENT 'the run that wrote the published row',
    drawn_at TIMESTAMP NOT NULL COMMENT 'UTC',
    drawn_from BIGINT NOT NULL COMMENT 'published answers of the attribute that could be drawn',
    label STRING COMMENT 'of a person, not_applicable or other; NULL in the row of the draw',
    labelled_by STRING COMMENT 'who says so',
    labelled_at TIMESTAMP COMMENT 'UTC; as the file has it, else when it was taken in',
    taken_at TIMESTAMP COMMENT 'UTC, when the label was taken in; of several the last counts'"""

AUDIT_CERTIFICATES = """
    audit_id STRING NOT NULL COMMENT 'the last draw whose labels count',
    attribute STRING NOT NULL COMMENT 'color, pattern, ...',
    label STRING COMMENT 'published label that this is about; NULL: all labels',
    category STRING COMMENT 'product_category that this is about; NULL: all products',
    model_version STRING NOT NULL COMMENT 'that gave the answers',
    drawn BIGINT NOT NULL COMMENT 'answers that were drawn, also by earlier draws',
    labels BIGINT NOT NULL COMMENT 'of these, those that a person labelled',
    right_labels BIGINT NOT NULL COMMENT 'of these, those with the label that was published',
    observed DOUBLE NOT NULL COMMENT 'share of right answers among the labelled, in [0, 1]',
    bound DOUBLE NOT NULL COMMENT 'proved share of right answers, in [0, 1]',
    confidence DOUBLE NOT NULL COMMENT 'probability that such bounds hold, in [0, 1]',
    target DOUBLE NOT NULL COMMENT 'target precision of the model_version, in [0, 1]',
    more_labels BIGINT COMMENT 'that would prove the target, if as many are right',
    drawn_at TIMESTAMP NOT NULL COMMENT 'the last draw, UTC',
    labelled_from TIMESTAMP NOT NULL COMMENT 'the first label, UTC',
    labelled_to TIMESTAMP NOT NULL COMMENT 'the last label, UTC',
    made_at TIMESTAMP NOT NULL COMMENT 'UTC',
    statement STRING NOT NULL COMMENT 'what is proved, as a sentence'"""

_LINEAGE = """
    content_hash STRING{required} COMMENT 'digest of the normalised text and the image',
    model_version STRING{required} COMMENT 'checkpoint, content digest and target precision',
    run_id STRING NOT NULL COMMENT 'the run that wrote this row',
    run_date DATE NOT NULL COMMENT 'logical date of that run',
    enriched_at TIMESTAMP NOT NULL COMMENT 'start of that run, UTC'"""


def product_attributes(attributes: Iterable[str]) -> str:
    """Return the columns of `product_attributes` for a checkpoint's attributes."""
    label = "of a correction, else of the classifier; NULL where there is none"
    return f"""
    product_id STRING NOT NULL COMMENT 'key',
    product_category STRING COMMENT 'as the catalog has it; the classifier never sees it',
{_attribute_columns(attributes, label)},
    predictions {PREDICTIONS} COMMENT 'everything the classifier said',
    corrections {CORRECTIONS} COMMENT 'labels that a person set; NULL where none did',
    modalities STRING NOT NULL COMMENT 'image+text, image or text: what the answer rests on',
    status STRING NOT NULL COMMENT 'one of {", ".join(Status)}',\
{_LINEAGE.format(required=" NOT NULL")}"""


def candidates(attributes: Iterable[str]) -> str:
    """Return the columns of `candidates`: a run's changes, written once."""
    return f"""
    product_id STRING NOT NULL COMMENT 'key within a run',
    op STRING NOT NULL COMMENT 'one of {", ".join(Op)}',
    reason STRING NOT NULL COMMENT 'new, changed, retried, reanswered, revised or missing',
    replaces STRING COMMENT 'run_id of the published row that the run saw; NULL: none',
    product_category STRING COMMENT 'as the catalog has it; the classifier never sees it',
    modalities STRING COMMENT 'what the answer rests on',
    status STRING COMMENT 'one of {", ".join(Status)}',
    error STRING COMMENT 'what could not be read, for people',\
{_LINEAGE.format(required="")},
{_attribute_columns(attributes, "of the classifier; NULL where it abstains")},
    predictions {PREDICTIONS} COMMENT 'everything the classifier said'"""


def tables(attributes: Sequence[str]) -> dict[str, str]:
    """Return every table's name with its columns, for a checkpoint's attributes."""
    return {
        "product_attributes": product_attributes(attributes),
        "candidates": candidates(attributes),
        "encodings": ENCODINGS,
        "images": IMAGES,
        "run_events": RUN_EVENTS,
        "quarantine": QUARANTINE,
        "label_quality": LABEL_QUALITY,
        "attribute_corrections": ATTRIBUTE_CORRECTIONS,
        "source_profiles": SOURCE_PROFILES,
        "audit_answers": AUDIT_ANSWERS,
        "audit_certificates": AUDIT_CERTIFICATES,
    }


# Tables that several databases may share: what was read of contents and pictures.
SHARED = ("encodings", "images")
# Blind appends of two runs do not conflict; deleting a run's candidates drops whole folders.
PARTITIONED = {"candidates": "run_id", "encodings": "encoder_version"}


def is_usable_attribute(name: str) -> bool:
    """Return whether an attribute's columns differ from all other columns and fields."""
    columns = "".join(tables(())[t] for t in ("product_attributes", "candidates"))
    taken = re.findall(r"^ *(\w+) [A-Z]", columns, re.MULTILINE)
    inputs = ("title", "description", "image_path")
    return name not in (*taken, *inputs) and not name.endswith("_confidence")


def select_attributes(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the attributes that a table with these columns answers."""
    return tuple(name for name in columns if f"{name}_confidence" in columns)


def select_typed_attributes(columns: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the attributes that a table answers, by column names and Spark types.

    Others may alter the table: the types exclude columns of theirs with such names.
    """
    types = dict(columns)
    named = select_attributes(tuple(types))
    return tuple(a for a in named if (types[a], types[f"{a}_confidence"]) == ("string", "double"))


def answer_columns(attributes: Iterable[str]) -> str:
    """Return the columns of a classifier's answer, as workers return them."""
    columns = "".join(f"`{a}` STRING, `{a}_confidence` DOUBLE, " for a in attributes)
    return f"{columns}predictions {PREDICTIONS}"


def _attribute_columns(attributes: Iterable[str], label: str) -> str:
    return ",\n".join(
        f"    `{a}` STRING COMMENT '{a} {label}',\n"
        f"    `{a}_confidence` DOUBLE COMMENT '{_CONFIDENCE}'"
        for a in attributes
    )


_PART = re.compile(r"`(?:[^`]|``)*`|[^.`]+")


def quote(name: str) -> str:
    """Return a dotted name with every part in back-ticks; quoted parts stay."""
    parts = _PART.findall(name)
    if ".".join(parts) != name:
        return quote_part(name)  # not a valid name in SQL, and so not another one's
    return ".".join(part if part.startswith("`") else quote_part(part) for part in parts)


def quote_literal(text: str) -> str:
    """Return a text as a literal of Spark's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_part(name: str) -> str:
    """Return one name in back-ticks, dots and all."""
    return f"`{name.replace('`', '``')}`"
