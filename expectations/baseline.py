"""Label baselines: what a catalog's answers are expected to look like.

A baseline is a small JSON file of counts, reviewed like code. Knows nothing of Spark or Great
Expectations.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from schemas.labels import ABSTAINED

from expectations.summary import CatalogSummary, GroupSummary, OtherCategories

# A category of such a name stands on one line.
_NUMBERS_ON_LINES = re.compile(r"\[\n\s+([\d,\s]+?)\n\s+\]")


# What would stage rows to build it of is the job that refuses this one.
_UNTIL_THEN = "take it out of `baselines` until one of this checkpoint is built"


class BaselineError(ValueError):
    """A baseline cannot be read, is inconsistent, or belongs to another checkpoint."""


class LabelBaseline(CatalogSummary):
    """A summary that somebody looked at and found sound, and where it came from.

    Attributes:
        model_version: whose answers were counted; None fits every model.
        source: the table, and its version or its run.
        other_categories: those that were counted together. Products of further ones are expected to
            look like the whole catalog; None, as in older baselines, takes them for one of these.
    """

    catalog: str
    model_version: str | None
    source: str
    other_categories: OtherCategories = None


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
    content = baseline.model_dump(mode="json")
    where_from = {name: content[name] for name in ("catalog", "model_version", "source")}
    text = json.dumps(where_from | content, indent=2)
    # A histogram is read, and compared by a diff, on one line.
    text = _NUMBERS_ON_LINES.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")


def check_baseline_fits(
    baseline: LabelBaseline, attribute_labels: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a baseline that names what the checkpoint cannot say.

    A baseline may say less than the checkpoint: an attribute that it lacks is not compared.

    Raises:
        BaselineError: it names an attribute or a label unknown to the checkpoint.
    """
    for group in (baseline.products, *baseline.categories.values()):
        _check_group_fits(baseline.catalog, group, attribute_labels)


def changed_shares(
    old: GroupSummary, new: GroupSummary, at_least: float
) -> list[tuple[str, str, float, float]]:
    """Returns attribute, label and both shares where they differ so much, most changed first."""
    changes = []
    for attribute in dict.fromkeys([*old.attributes, *new.attributes]):
        shares = [_shares(group, attribute) for group in (old, new)]
        for label in dict.fromkeys([*shares[0], *shares[1]]):
            before, now = (share.get(label, 0.0) for share in shares)
            if abs(now - before) >= at_least:
                changes.append((attribute, label, before, now))
    return sorted(changes, key=lambda change: -abs(change[3] - change[2]))


def _shares(group: GroupSummary, attribute: str) -> dict[str, float]:
    if attribute not in group.attributes:
        return {}
    return {label: n / group.rows for label, n in group.attributes[attribute].labels.items()}


def _check_group_fits(
    catalog: str, group: GroupSummary, attribute_labels: Mapping[str, Sequence[str]]
) -> None:
    for attribute, summary in group.attributes.items():
        if attribute not in attribute_labels:
            raise BaselineError(
                f"baseline {catalog!r} names attribute {attribute!r}; the checkpoint has "
                f"{', '.join(attribute_labels)}: {_UNTIL_THEN}"
            )
        unknown = sorted(set(summary.labels) - set(attribute_labels[attribute]) - {ABSTAINED})
        if unknown:
            raise BaselineError(
                f"baseline {catalog!r} names {attribute} {', '.join(map(repr, unknown))}; "
                f"the checkpoint has {', '.join(attribute_labels[attribute])}: {_UNTIL_THEN}"
            )


def _findings(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, finding['loc'])) or 'file'}: {finding['msg']}"
        for finding in error.errors(include_url=False)
    )
