"""The expectations of the gate, with their limits.

To add an expectation for every catalog, add it to `build_candidates_suite`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any

import great_expectations.expectations as gxe
from enrich.errors import ConfigError
from great_expectations.exceptions import ExpectationNotFoundError
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)
from great_expectations.expectations.row_conditions import Column
from schemas.labels import NOT_APPLICABLE

from expectations import custom
from expectations.baseline import Expected, LabelBaseline, expect_like
from expectations.counts import MIN_COMPARED, MIN_NEW, OTHER, UNKNOWN, AnswerCounts
from expectations.distribution import bound_share
from expectations.settings import ExpectationSetting, ValidationSettings

# Makes an expectation that chance may fail, from the probability `alpha` that it does.
MakeExpectation = Callable[..., gxe.Expectation]

# What is compared with a baseline: the expectation and its setting.
_Comparison = tuple[type[custom.BaselineExpectation], str]

_MODALITIES: _Comparison = (custom.ExpectModalitiesNearBaseline, "max_modality_shift")
_OF_ATTRIBUTE: tuple[_Comparison, ...] = (
    (custom.ExpectLabelSharesNearBaseline, "max_label_shift"),
    (custom.ExpectLabelMixNearBaseline, "max_total_label_shift"),
    (custom.ExpectConfidencesNearBaseline, "max_confidence_shift"),
)

# So many different products with one and the same confidence are not chance.
_MIN_ROWS_TO_VARY = 20

# A share that is equal to its limit passes, whatever the last digit of a division.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class _Scope:
    """Products that are compared, all of a run or those of one category."""

    category: str | None
    slack: float
    baseline: str
    expected: Expected


def build_input_suite(settings: ValidationSettings, rows: int, new: int) -> list[gxe.Expectation]:
    """Return the expectations on a product table before inference.

    Of its `rows`, `new` will be encoded for the first time.
    """
    of_new = partial(custom.ExpectTextPresent, row_condition=Column("is_new") == True)  # noqa: E712
    shares: list[tuple[Callable[..., gxe.Expectation], str, int]] = [
        (custom.ExpectProductIdsPresent, "max_unusable_id_share", rows),
        (custom.ExpectProductIdsUnique, "max_unusable_id_share", rows),
        (of_new, "max_empty_text_share", new if new >= MIN_NEW else 0),
    ]
    alpha = settings.false_alarm_rate / len(shares)
    return [
        _allow_share(kind, setting, getattr(settings, setting), of, alpha=alpha)
        for kind, setting, of in shares
        if of
    ]


def build_candidates_suite(
    settings: ValidationSettings,
    attribute_labels: Mapping[str, Sequence[str]],
    baseline: LabelBaseline | None,
    counts: AnswerCounts,
    answered: int,
    *,
    is_unseen: bool = False,
    never_answered: Collection[str] = (),
) -> list[gxe.Expectation]:
    """Return the expectations on a run's answers, those on rows first.

    `counts` of the run decide what there is to compare, and what chance adds; `answered` is the
    number of answers by the run's own count. Without a baseline nothing is compared with one, and
    few labels are a warning if `is_unseen`. Attributes in `never_answered` have no label by their
    thresholds.
    """
    suite = list(_row_expectations(attribute_labels, counts, answered, never_answered))
    is_other, severity = False, "critical"
    if baseline is not None and baseline.model_version is not None:
        is_other = bool(set(counts.model_versions) - {baseline.model_version})
        if is_other and settings.baseline_of_other_model == "warn":
            severity = "warning"
        suite.append(
            custom.ExpectBaselineOfSameModel(
                value_set=[baseline.model_version],
                severity=severity,
                meta={"what": f"{custom.ExpectBaselineOfSameModel.what} {baseline.catalog!r}"},
            )
        )
    scopes = list(_scopes(baseline, counts, settings))
    # What another model left without a label says nothing of how much this one should answer.
    expected = scopes[0].expected if scopes and not is_other else None
    chance = [
        *_answered_expectations(
            [a for a in attribute_labels if a not in never_answered],
            *(expected, counts, settings, is_unseen),
        ),
        *_agreements(counts, settings),
        *(one for scope in scopes for one in _comparisons(scope, severity, settings)),
    ]
    alpha = settings.false_alarm_rate / max(len(chance), 1)
    suite += [make(alpha=alpha) for make in chance]
    return suite + build_further(settings)


def build_further(settings: ValidationSettings) -> list[gxe.Expectation]:
    """Return the expectations that the settings add.

    Raises ConfigError if an expectation or a module of the settings cannot be used.
    """
    for module in settings.expectation_modules:
        try:
            import_module(module)
        except Exception as error:
            raise ConfigError(
                f"validation.expectation_modules: {module!r} cannot be imported ({error}). Put its "
                "folder on PYTHONPATH, or correct the name"
            ) from error
    return [_build_one(at, one) for at, one in enumerate(settings.expectations)]


def _build_one(place: int, wanted: ExpectationSetting) -> gxe.Expectation:
    name = f"validation.expectations[{place}]"
    try:
        kind = get_expectation_impl(wanted.type)
    except ExpectationNotFoundError as error:
        known = list_registered_expectation_implementations()
        close = get_close_matches(wanted.type, known, 3) or [
            "a type of Great Expectations' gallery"
        ]
        raise ConfigError(
            f"{name} has an unknown type: found {wanted.type!r}, expected {' or '.join(close)}. "
            "Correct it, or name the module that defines it in validation.expectation_modules"
        ) from error
    try:
        return kind(**wanted.arguments)
    except ValueError as error:
        raise ConfigError(f"{name}, {wanted.type}, is not valid: {error}") from error


def _row_expectations(
    attribute_labels: Mapping[str, Sequence[str]],
    counts: AnswerCounts,
    answered: int,
    never_answered: Collection[str],
) -> Iterator[gxe.Expectation]:
    yield custom.ExpectAllRowsAnswered(value=answered)
    yield custom.ExpectProductIdsPresent()
    yield custom.ExpectProductIdsUnique()
    for attribute, labels in attribute_labels.items():
        confidence = f"{attribute}_confidence"
        yield custom.ExpectKnownLabels(column=attribute, value_set=[*labels, NOT_APPLICABLE])
        yield custom.ExpectConfidencePresent(column=confidence)
        yield custom.ExpectConfidenceInUnitInterval(column=confidence)
        # With a single label to choose from, every answer is equally certain; and so are guesses by
        # words where no text names one.
        may_vary = len(labels) > 1 and attribute not in never_answered
        if counts.rows >= _MIN_ROWS_TO_VARY and may_vary:
            yield custom.ExpectConfidenceToVary(column=confidence)


def _scopes(
    baseline: LabelBaseline | None, counts: AnswerCounts, settings: ValidationSettings
) -> Iterator[_Scope]:
    """Yield all products, then categories large enough in run and baseline.

    These are few: a baseline tells only a catalog's largest categories apart.
    """
    if baseline is None or counts.rows < MIN_COMPARED:
        return
    name, least = baseline.catalog, settings.min_category_rows
    yield _Scope(None, 1.0, name, expect_like(baseline, counts.sizes, least))
    for category, rows in counts.sizes.items():
        known = None if category in (None, OTHER) else baseline.categories.get(str(category))
        if known is not None and min(rows, known.rows) >= least:
            yield _Scope(category, settings.category_slack, name, Expected(((1.0, known),)))


def _answered_expectations(
    attributes: Sequence[str],
    expected: Expected | None,
    counts: AnswerCounts,
    settings: ValidationSettings,
    is_unseen: bool,
) -> Iterator[MakeExpectation]:
    setting = "max_abstained_share"
    for attribute in attributes if counts.rows else ():
        answered, what = 1.0, custom.ExpectAbstainedShareBelow.what
        if expected is not None and attribute in expected.attributes:
            answered = expected.answered(attribute)
            what += f" ({1 - answered:.1%} by the baseline)"
        most = 1 - (1 - settings.max_abstained_share) * answered
        severity = "warning" if is_unseen and expected is None else "critical"
        kind = partial(custom.ExpectAbstainedShareBelow, column=attribute, severity=severity)
        yield partial(_allow_share, kind, setting, most, counts.rows, what=what)


def _agreements(counts: AnswerCounts, settings: ValidationSettings) -> Iterator[MakeExpectation]:
    for key, moved in counts.moved.items():
        is_whole = key.category is None
        is_large = moved.compared >= settings.min_category_rows
        if not is_whole and (not is_large or key.category in (OTHER, UNKNOWN)):
            continue
        setting = "max_moved_same_model" if key.same_model else "max_moved_other_model"
        most = (1.0 if is_whole else settings.category_slack) * getattr(settings, setting)
        yield partial(
            custom.ExpectLabelsToAgreeWithPublished,
            column=key.attribute,
            category=key.category,
            same_model=key.same_model,
            max_moved=min(most, 1.0),
            setting=setting,
        )


def _comparisons(
    scope: _Scope, severity: str, settings: ValidationSettings
) -> Iterator[MakeExpectation]:
    expected = scope.expected
    compared: list[tuple[str | None, _Comparison]] = [(None, _MODALITIES)]
    compared += [(a, one) for a in expected.attributes for one in _OF_ATTRIBUTE]
    for attribute, (kind, setting) in compared:
        if not (shares := expected.shares(partial(kind.count, attribute=str(attribute)))):
            continue
        most = min(scope.slack * getattr(settings, setting), 1.0)
        yield partial(
            kind,
            column=attribute,
            category=scope.category,
            expected=shares,
            baseline=scope.baseline,
            baseline_rows=expected.rows,
            max_shift=most,
            setting=setting,
            severity=severity,
        )


def _allow_share(
    kind: Callable[..., gxe.Expectation],
    setting: str,
    most: float,
    rows: int,
    *,
    alpha: float,
    **meta: Any,
) -> gxe.Expectation:
    """Return an expectation that allows a share of the rows and what chance adds."""
    allowance = bound_share(most, rows, alpha) - most
    meta |= {"setting": setting, "threshold": most, "allowance": allowance}
    return kind(mostly=max(1 - most - allowance - _ROUNDING, 0.0), meta=meta)
