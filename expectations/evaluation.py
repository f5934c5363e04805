"""Evaluation of a suite by Great Expectations on a batch of rows."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import great_expectations as gx
import great_expectations.expectations as gxe
from enrich.errors import tell_apart
from great_expectations.core import ExpectationValidationResult
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from pyspark.sql import DataFrame
from schemas.tables import CheckOutcome, Suite, select_typed_attributes

from expectations.checks import MAX_PRODUCTS, Check, say_limit

# Values are fetched for failed expectations alone.
_COUNTS = {"result_format": "BASIC", "exclude_unexpected_values": True}
_PRODUCTS = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": MAX_PRODUCTS,
    "unexpected_index_column_names": ["product_id"],
}
_NAMED_VALUES = 10

# Fields of Great Expectations' own expectations that limit what is observed, in words.
_LIMITS = {"value": "", "min_value": "at least ", "max_value": "at most "}


def evaluate(name: Suite, expectations: Sequence[gxe.Expectation], rows: DataFrame) -> list[Check]:
    """Evaluate one or more expectations on rows; return the checks in order.

    Expectations that had nothing to look at give no check. The caller caches the rows.
    """
    context = _open_context()
    source = context.data_sources.add_spark("run", persist=False)
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("rows")
    numbered = [
        one.copy(update={"meta": {**(one.meta or {}), "place": place}})
        for place, one in enumerate(expectations)
    ]
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=numbered))
    validation = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    outcome = validation.run(batch_parameters={"dataframe": rows}, result_format=_COUNTS)
    results = {_place(one): one for one in outcome.results}
    failed = [numbered[at] for at, one in results.items() if _is_about_rows(one)]
    details = _look_closer(name, failed, batch, rows) if failed else {}
    attributes = select_typed_attributes(rows.dtypes)
    checks = [
        _read(name, attributes, one, results[at], details.get(at))
        for at, one in enumerate(numbered)
    ]
    return [one for one in checks if one is not None]


def _place(result: ExpectationValidationResult) -> int:
    # Results come back grouped, not in the suite's order.
    return int(result.expectation_config.meta["place"])


def _is_about_rows(result: ExpectationValidationResult) -> bool:
    return not result.success and "unexpected_count" in result.result


def _look_closer(
    name: Suite, failed: Sequence[gxe.Expectation], batch: BatchDefinition, rows: DataFrame
) -> dict[int, ExpectationValidationResult]:
    """Evaluate failed expectations once more, to list their products."""
    suite = gx.ExpectationSuite(name=f"{name} failures", expectations=[copy(one) for one in failed])
    outcome = batch.get_batch({"dataframe": rows}).validate(suite, result_format=_PRODUCTS)
    return {_place(one): one for one in outcome.results}


def _read(
    name: Suite,
    attributes: Collection[str],
    expectation: gxe.Expectation,
    result: ExpectationValidationResult,
    closer: ExpectationValidationResult | None,
) -> Check | None:
    found, error = result.result, _evaluation_error(result)
    if error is None and result.success and found.get("detail", "") is None:
        return None
    figures = _figures(expectation, found)
    products, values = found.get("products", ()), ()
    if closer is not None:
        listed = closer.result.get("partial_unexpected_index_list") or ()
        products = [str(one["product_id"]) for one in listed if one["product_id"] is not None]
        values = closer.result.get("partial_unexpected_list") or ()
    if error is not None:
        detail = f"{expectation.expectation_type} could not be evaluated: {error}"
    else:
        detail = found.get("detail") or _say(expectation, found, figures, values)
    column = str(getattr(expectation, "column", None)).removesuffix("_confidence")
    attribute = column if column in attributes else None
    category = getattr(expectation, "category", None)
    about = " in ".join(
        part for part in (attribute, category and f"category {category}") if part is not None
    )
    return Check(
        suite=name,
        expectation=expectation.expectation_type,
        attribute=attribute,
        category=category,
        observed=figures.observed,
        threshold=figures.threshold,
        allowance=figures.allowance,
        outcome=_outcome(result, evaluated=error is None),
        detail=f"{about}: {detail}" if about else detail,
        products=tuple(dict.fromkeys(products)),
    )


class _Figures(NamedTuple):
    """Observed figure, limit of the settings and allowance of chance, or None."""

    observed: float | None = None
    threshold: float | None = None
    allowance: float | None = None


def _figures(expectation: gxe.Expectation, found: Mapping[str, Any]) -> _Figures:
    meta = expectation.meta
    if "unexpected_count" in found:
        rows = found["element_count"] - (found.get("missing_count") or 0)
        observed = (found["unexpected_count"] or 0) / max(rows, 1)
        threshold = meta.get("threshold", 1 - expectation.mostly)
        return _Figures(observed, float(threshold), float(meta.get("allowance", 0)))
    limits = (getattr(expectation, name, None) for name in ("max_shift", "max_moved", *_LIMITS))
    threshold = next((float(one) for one in limits if isinstance(one, int | float)), None)
    return _Figures(_number(found.get("observed_value")), threshold, found.get("allowance"))


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _say(
    expectation: gxe.Expectation, found: Mapping[str, Any], figures: _Figures, values: Sequence[Any]
) -> str:
    """Return the finding of an expectation that says nothing itself as a sentence."""
    kwargs = expectation.configuration.kwargs
    asked = ", ".join(f"{k}={v!r}" for k, v in kwargs.items() if k != "batch_id")
    call = f"{expectation.expectation_type}({asked})"
    what = expectation.meta.get("what", getattr(expectation, "what", None))
    observed, threshold, allowance = figures.observed, figures.threshold, figures.allowance
    if "unexpected_count" not in found:
        value = found.get("observed_value") if observed is None else f"{observed:,.10g}"
        if what is None:
            return f"{call} observed {value}"
        limits = [(word, getattr(expectation, name, None)) for name, word in _LIMITS.items()]
        told = " and ".join(f"{word}{limit:,}" for word, limit in limits if limit is not None)
        return f"{value} {what}, expected {told}"
    rows, broken = found["element_count"], found["unexpected_count"] or 0
    share, _ = tell_apart(observed or 0.0, (threshold or 0.0) + (allowance or 0.0), ".1%")
    detail = f"{broken:,} of {rows:,} products ({share}) {what or f'break {call}'}"
    if getattr(expectation, "says_values", False) and values:
        named = list(dict.fromkeys(map(str, values)))[:_NAMED_VALUES]
        detail += f": found {', '.join(map(repr, named))}"
    if "setting" in expectation.meta:
        setting = expectation.meta["setting"]
        detail += f"; {say_limit(setting, threshold or 0.0, allowance or 0.0)}"
    advice = getattr(expectation, "advice", None)
    return f"{detail}. {advice}" if advice and broken else detail


def _outcome(result: ExpectationValidationResult, *, evaluated: bool) -> CheckOutcome:
    if result.success:
        return CheckOutcome.PASS
    # An expectation that could not be evaluated says nothing of the data, so it blocks.
    is_critical = str(result.expectation_config.severity.value) == "critical"
    return CheckOutcome.FAIL if is_critical or not evaluated else CheckOutcome.WARN


def _evaluation_error(result: ExpectationValidationResult) -> str | None:
    """Return the first line of what kept an expectation from being evaluated."""
    # One dictionary where the expectation raised, one by metric where its metrics did.
    info = result.exception_info or {}
    raised = [info] if "raised_exception" in info else list(info.values())
    for exception in raised:
        if exception["raised_exception"]:
            return str(exception["exception_message"]).strip().split("\n", 1)[0]
    return None


def _open_context() -> EphemeralDataContext:
    """Return a context in memory.

    It becomes Great Expectations' current one of this process.
    """
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )
