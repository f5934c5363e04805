"""Label baselines: what a catalog's answers are expected to look like.

A baseline is a small JSON file of counts, reviewed like code. Knows nothing of Spark or Great
Expectations.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from schemas.labels import ABSTAINED

from expectations.summary import CatalogSummary, GroupSummary, OtherCategories

# A list of numbers as `json.dumps` lays it out: each of them on a line of its own.
_NUMBERS_ON_LINES = re.compile(r"\[\n\s+([\d,\s]+?)\n\s+\]")

# A new baseline is built from rows that the job has staged, and the job refuses this one: so it has
# to run once without.
_UNTIL_THEN = "take it out of `baselines` until one of this checkpoint is built"

log = logging.getLogger("enrich")


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
    """Returns the baseline of a file.

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
    """Writes a baseline as JSON; its folder is made where it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = baseline.model_dump(mode="json")
    where_from = {name: content[name] for name in ("catalog", "model_version", "source")}
    text = json.dumps(where_from | content, indent=2)
    # On one line a histogram is easy to read, and a change of it is one line of a diff.
    text = _NUMBERS_ON_LINES.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")


def check_baseline_fits(
    baseline: LabelBaseline, attribute_labels: Mapping[str, Sequence[str]]
) -> None:
    """Refuses a baseline that names what the checkpoint cannot say.

    A baseline may say less than the checkpoint: an attribute that it lacks is not compared.

    Raises:
        BaselineError: it names an attribute or a label unknown to the checkpoint.
    """
    for group in (baseline.products, *baseline.categories.values()):
        _check_group_fits(baseline.catalog, group, attribute_labels)


def choose_baseline(
    baselines: Mapping[str, Path], catalog: str, attribute_labels: Mapping[str, Sequence[str]]
) -> LabelBaseline | None:
    """Returns a catalog's baseline; None, with a warning if there are others, where it has none.

    Args:
        baselines: the files, by the names of the catalogs.
        catalog: which catalog is enriched.
        attribute_labels: the checkpoint's labels by attribute.

    Raises:
        BaselineError: the file is no baseline, or does not fit the checkpoint.
    """
    file = baselines.get(catalog)
    if file is None:
        if baselines:
            named = ", ".join(map(repr, baselines))
            log.warning("no baseline: the settings name %s, not '%s'", named, catalog)
        return None
    baseline = load_baseline(file)
    check_baseline_fits(baseline, attribute_labels)
    return baseline


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
