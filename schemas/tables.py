"""The output tables as DDL: columns, types, comments, values. Attributes are a checkpoint's.

Imports nothing; whoever creates a table formats these strings.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

ALTERNATIVE = "STRUCT<label: STRING, confidence: DOUBLE>"
PREDICTION = (
    "STRUCT<attribute: STRING, label: STRING, confidence: DOUBLE, abstained: BOOLEAN, "
    f"image_weight: DOUBLE, alternatives: ARRAY<{ALTERNATIVE}>>"
)
PREDICTIONS = f"ARRAY<{PREDICTION}>"
# What a label column says of itself, after the attribute's name.
_PUBLISHED = " of a correction, else of the classifier; NULL where that says none"
_STAGED = "; NULL where the classifier abstains"
# Also beside a label that a person set, which may be another one.
_CONFIDENCE = "calibrated probability of the label that the classifier is surest of, in [0, 1]"
# Ordered by attribute, so that equal corrections are equal values.
CORRECTIONS = "ARRAY<STRUCT<attribute: STRING, label: STRING, corrected_by: STRING>>"

_LINEAGE = """
    content_hash STRING NOT NULL COMMENT 'digest of the normalised text and the image',
    model_version STRING NOT NULL COMMENT 'checkpoint, content digest and target precision',
    run_id STRING NOT NULL COMMENT 'the run that wrote this row',
    run_date DATE NOT NULL COMMENT 'logical date of that run',
    enriched_at TIMESTAMP NOT NULL COMMENT 'start of that run, UTC'"""


class Reason(StrEnum):
    """Why a row is of no use; the value of column `reason` of `quarantine`."""

    NULL_ID = "null_id"
    SURPLUS_FIELDS = "surplus_fields"
    DUPLICATE_ID = "duplicate_id"
    NO_MODALITY = "no_modality"
    POISON = "poison"


QUARANTINE = f"""
    product_id STRING COMMENT 'as found; NULL when that is the reason',
    reason STRING NOT NULL COMMENT 'one of {", ".join(Reason)}',
    error STRING COMMENT 'what could not be read, for people',
    title STRING COMMENT 'raw input',
    description STRING COMMENT 'raw input',
    image_path STRING COMMENT 'raw input',
    content_hash STRING NOT NULL COMMENT 'digest of the normalised text and the image',
    model_version STRING NOT NULL COMMENT 'the checkpoint of the run that found it',
    run_id STRING NOT NULL COMMENT 'the run that found it',
    run_date DATE NOT NULL COMMENT 'logical date of that run'"""


class Outcome(StrEnum):
    """How a run ended; the value of column `outcome` of `enrichment_runs`."""

    PUBLISHED = "published"
    NOTHING_TO_DO = "nothing_to_do"
    STAGED = "staged"
    BLOCKED = "blocked"
    DROPPED = "dropped"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


# Runs that came to the end of what they were asked for.
SUCCEEDED = (Outcome.PUBLISHED, Outcome.NOTHING_TO_DO)


# What checks are about: a run's input, or its answers; column `suite` of `label_quality`.
Suite = Literal["input", "candidates"]


class CheckOutcome(StrEnum):
    """What became of a check, from good to bad; column `outcome` of `label_quality`.

    A warning is a failure that is reported and does not block.
    """

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


class Status(StrEnum):
    """What could be read of a product; the value of column `status`."""

    OK = "ok"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_FORBIDDEN = "image_forbidden"
    TEXT_EMPTY = "text_empty"
    WORKER_CRASHED = "worker_crashed"


# What may be the matter with an image. Also that a product names none: see its `error`.
IMAGE_PROBLEMS = (
    Status.IMAGE_MISSING,
    Status.IMAGE_UNREADABLE,
    Status.IMAGE_CORRUPT,
    Status.IMAGE_TOO_LARGE,
    Status.IMAGE_FORBIDDEN,
)


class Modalities(StrEnum):
    """Which modalities an answer rests on; the value of column `modalities`."""

    IMAGE_AND_TEXT = "image+text"
    IMAGE = "image"
    TEXT = "text"

    @classmethod
    def of(cls, has_image: bool, has_text: bool) -> "Modalities":
        """Returns what an answer rests on, of a product with an image, a text, or both.

        Raises:
            ValueError: it has neither.
        """
        if has_image:
            return cls.IMAGE_AND_TEXT if has_text else cls.IMAGE
        if has_text:
            return cls.TEXT
        raise ValueError("an answer rests on an image or a text")


ENRICHMENT_RUNS = f"""
    run_id STRING NOT NULL COMMENT 'key',
    run_date DATE NOT NULL COMMENT 'logical date',
    outcome STRING NOT NULL COMMENT 'one of {", ".join(Outcome)}',
    started_at TIMESTAMP NOT NULL COMMENT 'UTC',
    finished_at TIMESTAMP NOT NULL COMMENT 'when this row was written, UTC',
    catalog STRING NOT NULL COMMENT 'the product table that was read',
    catalog_version STRING NOT NULL COMMENT 'its Delta version, or a digest of its files',
    model_version STRING NOT NULL COMMENT 'checkpoint, content digest and target precision',
    read BIGINT NOT NULL COMMENT 'rows read = published + unchanged + quarantined + withheld',
    pending BIGINT NOT NULL COMMENT 'products to be written anew',
    carried BIGINT COMMENT 'of these, those whose published answer holds: no inference',
    enriched BIGINT NOT NULL COMMENT 'of the pending, those with an answer',
    published BIGINT NOT NULL COMMENT 'rows merged into product_attributes',
    unchanged BIGINT NOT NULL COMMENT 'products whose published row still holds, or is newer',
    quarantined BIGINT NOT NULL COMMENT 'rows without a usable key or a readable modality',
    withheld BIGINT NOT NULL COMMENT 'pending, but staged, blocked, out of date or taken back',
    vanished BIGINT COMMENT 'published rows whose product is no longer in the product table',
    deleted BIGINT COMMENT 'of these, the rows that were deleted',
    abstained MAP<STRING, BIGINT> COMMENT 'per attribute, of the answered',
    asked BIGINT COMMENT 'products that the classifier was asked about, by the last attempt',
    is_whole BOOLEAN COMMENT 'whether it read the whole product table: no --limit',
    seconds MAP<STRING, DOUBLE> COMMENT 'per stage, of the last attempt',
    error STRING COMMENT 'why it was stopped, perhaps to be published by a person',
    reason STRING COMMENT 'why a person published it, dropped it or took it back',
    published_version BIGINT COMMENT 'Delta version of product_attributes by finished_at',
    succeeded_on DATE COMMENT 'logical date of an earlier attempt that came to its end',
    succeeded_at TIMESTAMP COMMENT 'start of that attempt, UTC'"""

ATTRIBUTE_CORRECTIONS = """
    product_id STRING NOT NULL COMMENT 'key; of several for one attribute the last counts',
    attribute STRING NOT NULL COMMENT 'color, pattern, ...',
    label STRING COMMENT 'what it is; NULL: none of the labels fits',
    corrected_by STRING NOT NULL COMMENT 'who says so',
    corrected_at TIMESTAMP NOT NULL COMMENT 'when, UTC',
    note STRING COMMENT 'for people'"""

LABEL_QUALITY = f"""
    run_id STRING NOT NULL COMMENT 'the run that was validated',
    run_date DATE NOT NULL COMMENT 'logical date of that run',
    model_version STRING NOT NULL COMMENT 'checkpoint, content digest and target precision',
    baseline STRING NOT NULL COMMENT 'name of the label baseline, or none',
    suite STRING COMMENT 'input: before inference; candidates: before publication',
    attribute STRING COMMENT 'NULL for checks of the whole table',
    category STRING COMMENT 'NULL for checks of all products',
    expectation STRING NOT NULL COMMENT 'type of the expectation in Great Expectations',
    observed DOUBLE COMMENT 'mostly a share of products, in [0, 1]; NULL: not evaluated',
    threshold DOUBLE COMMENT 'what the settings allow, in the same unit',
    allowance DOUBLE COMMENT 'what chance adds to the threshold in a run of this size',
    outcome STRING NOT NULL COMMENT 'one of {", ".join(CheckOutcome)}',
    detail STRING COMMENT 'finding and limit as a sentence',
    products ARRAY<STRING> COMMENT 'ids that a failed check is about, at most 1000'"""


def tables(attributes: Sequence[str]) -> dict[str, str]:
    """Returns every table's name with its columns, for a checkpoint's attributes."""
    return {
        "product_attributes": product_attributes(attributes),
        "staged_attributes": staged_attributes(attributes),
        "quarantine": QUARANTINE,
        "enrichment_runs": ENRICHMENT_RUNS,
        "label_quality": LABEL_QUALITY,
        "attribute_corrections": ATTRIBUTE_CORRECTIONS,
    }


def checks(attributes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Returns the CHECK constraints by table and name; Delta takes NULL for a violation."""
    confidences = [f"{a}_confidence" for a in attributes]
    answers = {f"{c}_in_0_1": f"`{c}` IS NULL OR `{c}` BETWEEN 0 AND 1" for c in confidences}
    answers["status_known"] = _is_one_of("status", Status)
    known = _is_one_of("modalities", Modalities)
    return {
        "product_attributes": answers | {"modalities_known": known},
        "staged_attributes": answers | {"modalities_known": f"modalities IS NULL OR {known}"},
        "enrichment_runs": {"outcome_known": _is_one_of("outcome", Outcome)},
        "label_quality": {"outcome_known": _is_one_of("outcome", CheckOutcome)},
    }


def is_usable_attribute(name: str) -> bool:
    """Returns whether an attribute's two columns clash with no other column, also of an input."""
    columns = "".join(tables(())[t] for t in ("product_attributes", "staged_attributes"))
    taken = re.findall(r"^ *(\w+) [A-Z]", columns, re.MULTILINE)
    inputs = ("title", "description", "image_path")
    return name not in (*taken, *inputs) and not name.endswith("_confidence")


def select_attributes(columns: Sequence[str]) -> tuple[str, ...]:
    """Returns the attributes that a table with these columns answers."""
    return tuple(name for name in columns if f"{name}_confidence" in columns)


def select_typed_attributes(columns: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Returns the attributes that a table answers, of its columns' names and Spark types.

    In a table that others may alter two columns of theirs can be called as if they were one.
    """
    types = dict(columns)
    named = select_attributes(tuple(types))
    return tuple(a for a in named if (types[a], types[f"{a}_confidence"]) == ("string", "double"))


def product_attributes(attributes: Iterable[str]) -> str:
    """Returns the columns of `product_attributes` for a checkpoint's attributes."""
    return f"""
    product_id STRING NOT NULL COMMENT 'key',
    product_category STRING COMMENT 'as the catalog has it; the classifier never sees it',
{_attribute_columns(attributes, _PUBLISHED)},
    predictions {PREDICTIONS} COMMENT 'everything the classifier said',
    corrections {CORRECTIONS} COMMENT 'labels that a person set; NULL where none did',
    modalities STRING NOT NULL COMMENT 'image+text, image or text: what the answer rests on',
    status STRING NOT NULL COMMENT 'one of {", ".join(Status)}',{_LINEAGE}"""


def staged_attributes(attributes: Iterable[str]) -> str:
    """Returns the columns of `staged_attributes`: also rows that could not be answered."""
    return f"""
    product_id STRING NOT NULL COMMENT 'key within a run',
    product_category STRING COMMENT 'as the catalog has it; the classifier never sees it',
{_attribute_columns(attributes, _STAGED)},
    predictions {PREDICTIONS} COMMENT 'everything the classifier said',
    modalities STRING COMMENT 'NULL when neither image nor text could be read',
    status STRING NOT NULL COMMENT 'one of {", ".join(Status)}',
    error STRING COMMENT 'why, for people',
    chunk INT COMMENT 'the part of the run that it was staged in',
    is_carried BOOLEAN COMMENT 'a published answer that still holds',{_LINEAGE}"""


def answer_columns(attributes: Iterable[str]) -> str:
    """Returns the columns in which the classifier's answer to a product is handed over."""
    columns = ", ".join(f"`{a}` STRING, `{a}_confidence` DOUBLE" for a in attributes)
    return f"status STRING, modalities STRING, error STRING, {columns}, predictions {PREDICTIONS}"


def _is_one_of(column: str, values: Iterable[str]) -> str:
    quoted = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({quoted})"


def _attribute_columns(attributes: Iterable[str], label: str) -> str:
    return ",\n".join(
        f"    `{a}` STRING COMMENT '{a}{label}',\n"
        f"    `{a}_confidence` DOUBLE COMMENT '{_CONFIDENCE}'"
        for a in attributes
    )
