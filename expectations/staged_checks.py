"""Which checks a run's staged labels go through.

Pure functions of counts. Knows nothing of Spark or Great Expectations.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from expectations.agreement import check_agreements
from expectations.baseline import LabelBaseline
from expectations.checks import ChanceCheck, Check, Severity, share_out
from expectations.drift import Scope, compare
from expectations.expected import Expected, expect_like
from expectations.figures import StagedFigures
from expectations.settings import ValidationSettings
from expectations.soundness import check_abstained_share, check_rows, check_values
from expectations.summary import OTHER


def check_staged(
    figures: StagedFigures,
    attribute_labels: Mapping[str, Sequence[str]],
    baseline: LabelBaseline | None,
    *,
    expected_rows: int,
    settings: ValidationSettings,
) -> list[Check]:
    """Returns every check of a run's staged rows.

    Args:
        figures: what was counted.
        attribute_labels: the checkpoint's labels by attribute.
        baseline: None leaves out what needs one.
        expected_rows: how many rows the run staged by its own count.
        settings: what is tolerated.
    """
    checks = list(check_rows(figures, expected_rows))
    if figures.summary is None:
        return checks
    by_attribute = figures.summary.products.attributes
    for attribute, labels in attribute_labels.items():
        checks += check_values(
            attribute,
            labels,
            by_attribute[attribute],
            figures.label_rows[attribute],
            figures.confidences[attribute],
        )
    if baseline is not None and baseline.model_version is not None:
        checks.append(_check_model(figures, baseline, settings))
    scopes = [] if baseline is None else [*_scopes(figures, baseline, settings)]
    # What another model left open says nothing of how much this one should answer.
    expected = scopes[0].expected if scopes and scopes[0].severity == "critical" else None
    most = settings.max_abstained_share
    by_chance: list[ChanceCheck] = [
        partial(check_abstained_share, a, by_attribute[a], most, _answered(a, expected))
        for a in attribute_labels
    ]
    by_chance += check_agreements(figures.agreements, settings)
    for scope in scopes:
        by_chance += compare(scope, settings)
    return checks + share_out(by_chance, settings.false_alarm_rate)


def _check_model(
    figures: StagedFigures, baseline: LabelBaseline, settings: ValidationSettings
) -> Check:
    others = _versions_besides(baseline, figures)
    if others:
        finding = (
            f"{sum(others.values())} rows are of {', '.join(others)}, the baseline "
            f"{baseline.catalog!r} is of {baseline.model_version}: look at the staged rows, then "
            "build a baseline of them (jobs/build_label_baseline.py --run-id) or set "
            "validation.baseline_of_other_model to warn"
        )
    else:
        finding = f"all rows are of {baseline.model_version}, as is the baseline"
    return Check(
        expectation="expect_baseline_of_same_model",
        severity="critical" if settings.baseline_of_other_model == "refuse" else "warning",
        observed=sum(others.values()),
        at_most=0,
        rule="The baseline counts answers of the model_version that this run used; the figure "
        "counts the rows of another one.",
        finding=finding,
    )


def _answered(attribute: str, expected: Expected | None) -> float | None:
    """Returns the share that the baseline answers, None where it says nothing of the attribute."""
    if expected is None or not expected.has(attribute):
        return None
    return 1 - expected.abstained(attribute)


def _scopes(
    figures: StagedFigures, baseline: LabelBaseline, settings: ValidationSettings
) -> Iterator[Scope]:
    """Yields all products, then the categories that are large enough, in run and baseline.

    These are few: a baseline tells only a catalog's largest categories apart.
    """
    run = figures.summary
    assert run is not None
    is_lenient = settings.baseline_of_other_model == "warn" and _versions_besides(baseline, figures)
    severity: Severity = "warning" if is_lenient else "critical"
    expected = expect_like(baseline, run, settings.min_category_rows)
    yield Scope(None, run.products, expected, baseline.catalog, severity)
    for name, group in run.categories.items():
        known = baseline.categories.get(name)
        if name == OTHER or known is None:
            continue
        if min(group.rows, known.rows) >= settings.min_category_rows:
            yield Scope(name, group, Expected(((1.0, known),)), baseline.catalog, severity)


def _versions_besides(baseline: LabelBaseline, figures: StagedFigures) -> dict[str, int]:
    """Returns the rows by model_version, of other versions than the baseline's."""
    if baseline.model_version is None:
        return {}
    return {v: n for v, n in figures.model_versions.items() if v != baseline.model_version}
