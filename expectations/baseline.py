"""Label baselines: the share of every label that a catalog is expected to show.

A baseline is a small JSON file, reviewed like code. Knows nothing of Spark or Great Expectations.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

# The key under which a baseline counts abstentions: NULL is a label of its own here, because a
# comparison that skips NULLs still passes when half the labels are gone.
ABSTAINED = "(abstained)"

# Chosen between noise and damage, in nats. 200 rows drawn from a baseline of 18 equal shares stay
# below 0.11 in 999 of 1000 draws (simulated); a catalog that abstains on a quarter and then loses
# half of its remaining labels moves by 0.31.
DEFAULT_MAX_DIVERGENCE = 0.3

SHARE_SUM_TOLERANCE = 0.01


class BaselineError(ValueError):
    """A baseline cannot be read, is inconsistent, or belongs to another checkpoint."""


class LabelBaseline(BaseModel):
    """Expected label shares of one catalog, and where they came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalog: str
    model_version: str | None
    source: str
    rows: int = Field(ge=1)
    attributes: dict[str, dict[str, float]]
    max_divergence: float = Field(default=DEFAULT_MAX_DIVERGENCE, gt=0, allow_inf_nan=False)

    @field_validator("attributes")
    @classmethod
    def _shares_are_a_distribution(
        cls, attributes: dict[str, dict[str, float]]
    ) -> dict[str, dict[str, float]]:
        for attribute, shares in attributes.items():
            for label, share in shares.items():
                if not 0 <= share <= 1:
                    raise ValueError(f"{attribute} {label!r} has share {share}, wanted 0 to 1")
            total = math.fsum(shares.values())
            if abs(total - 1) > SHARE_SUM_TOLERANCE:
                raise ValueError(
                    f"shares of {attribute} sum to {total:.3f}, wanted 1 within "
                    f"{SHARE_SUM_TOLERANCE}, {ABSTAINED!r} included"
                )
        return attributes


def load_baseline(path: str | Path) -> LabelBaseline:
    """Read a baseline file.

    Raises:
        BaselineError: the file is missing, is not JSON, or is not a baseline.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(
            f"baseline {path} cannot be read ({error}); wanted a JSON file as written by "
            "jobs/build_label_baseline.py: correct the path or build it"
        ) from error
    try:
        return LabelBaseline.model_validate_json(text)
    except ValidationError as error:
        raise BaselineError(
            f"baseline {path} is not valid: {_findings(error)}; "
            "correct it or rebuild it with jobs/build_label_baseline.py"
        ) from error


def save_baseline(baseline: LabelBaseline, path: str | Path) -> None:
    """Write a baseline as JSON, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(baseline.model_dump_json(indent=2) + "\n", encoding="utf-8")


def shares_from_counts(
    counts: Mapping[str, Mapping[str | None, int]],
) -> dict[str, dict[str, float]]:
    """Turn label counts of every attribute into the shares of a baseline, largest first.

    Args:
        counts: rows by label of every attribute; None counts the rows where it abstained.

    Raises:
        BaselineError: an attribute has no rows.
    """
    return {attribute: _shares(attribute, by_label) for attribute, by_label in counts.items()}


def check_baseline_fits(
    baseline: LabelBaseline, attribute_labels: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a baseline that names what the checkpoint cannot say.

    A baseline may say less than the checkpoint: an attribute without shares is not compared.

    Raises:
        BaselineError: it names an attribute or a label unknown to the checkpoint.
    """
    for attribute, shares in baseline.attributes.items():
        if attribute not in attribute_labels:
            raise BaselineError(
                f"baseline {baseline.catalog!r} names attribute {attribute!r}; the checkpoint has "
                f"{', '.join(attribute_labels)}: use a baseline built with this checkpoint"
            )
        unknown = sorted(set(shares) - set(attribute_labels[attribute]) - {ABSTAINED})
        if unknown:
            raise BaselineError(
                f"baseline {baseline.catalog!r} names {attribute} {', '.join(map(repr, unknown))}; "
                f"the checkpoint has {', '.join(attribute_labels[attribute])}: "
                "use a baseline built with this checkpoint"
            )


def _shares(attribute: str, by_label: Mapping[str | None, int]) -> dict[str, float]:
    total = sum(by_label.values())
    if total == 0:
        raise BaselineError(f"{attribute} has no rows to take shares of; wanted a non-empty table")
    largest_first = sorted(by_label.items(), key=lambda item: (-item[1], item[0] or ABSTAINED))
    return {
        ABSTAINED if label is None else label: round(count / total, 6)
        for label, count in largest_first
    }


def _findings(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, finding['loc'])) or 'file'}: {finding['msg']}"
        for finding in error.errors(include_url=False)
    )
