"""Expectations of our own, as Great Expectations knows them.

Rules on single rows are its own expectations under the name of what they mean here. Rules on the
distribution of answers depend on one metric, `table.answer_counts`, so that a batch is counted
once; to add one, subclass `AnswersExpectation`. docs/validation.md has examples.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import great_expectations.expectations as gxe
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import ExecutionEngine, SparkDFExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.labels import ABSTAINED

from expectations import distribution
from expectations.checks import MAX_PRODUCTS
from expectations.counts import (
    BEST,
    CONFIDENCE_EDGES,
    GROUP,
    MIN_COMPARED,
    MODALITIES,
    MODEL,
    PUBLISHED,
    AnswerCounts,
    GroupCounts,
    MovedCounts,
    MovedKey,
    col,
    count_answers,
)
from expectations.distribution import CONFIDENCE_BINS, BaselineShares, Finding, Limit

ANSWER_COUNTS = "table.answer_counts"


class CountsOnly:
    """Make an expectation three times as fast by counting broken rows alone.

    Great Expectations fetches examples of each expectation in a query of its own. `evaluation`
    asks for those of the failed ones alone, in another result format.
    """

    def get_validation_dependencies(self, *args: Any, **kwargs: Any) -> Any:
        """Return the metrics that are needed, but for the examples."""
        needed = super().get_validation_dependencies(*args, **kwargs)  # type: ignore[misc]
        if needed.result_format["result_format"] == "BASIC":
            for name in needed.get_metric_names():
                if name.endswith(".unexpected_values"):
                    needed.remove_metric_configuration(name)
        return needed


# `what` is what broken rows do, in sentences such as "3 of 40,000 products have no product_id".
class ExpectProductIdsPresent(CountsOnly, gxe.ExpectColumnValuesToNotBeNull):
    """Expect every row to have a usable id."""

    column: str = "product_id"
    what: ClassVar[str] = "have no usable product_id"


class ExpectProductIdsUnique(CountsOnly, gxe.ExpectColumnValuesToBeUnique):
    """Expect every id to stand in one row."""

    column: str = "product_id"
    what: ClassVar[str] = "have a product_id that another row has too"


class ExpectTextPresent(CountsOnly, gxe.ExpectColumnValuesToNotBeNull):
    """Expect most new products to have a text."""

    column: str = "text"
    what: ClassVar[str] = "have neither title nor description"


class ExpectAllRowsAnswered(gxe.ExpectTableRowCountToEqual):
    """Expect as many rows as the run answered by its own count."""

    what: ClassVar[str] = "rows hold an answer"


class ExpectKnownLabels(CountsOnly, gxe.ExpectColumnValuesToBeInSet):
    """Expect labels from the checkpoint's label set; NULL is allowed."""

    what: ClassVar[str] = "have a label unknown to the checkpoint"
    says_values: ClassVar[bool] = True


class ExpectConfidencePresent(CountsOnly, gxe.ExpectColumnValuesToNotBeNull):
    """Expect a confidence in every row, also where there is no label."""

    what: ClassVar[str] = "have no confidence"


class ExpectConfidenceInUnitInterval(CountsOnly, gxe.ExpectColumnValuesToBeBetween):
    """Expect confidences to be probabilities."""

    min_value: float = 0
    max_value: float = 1
    what: ClassVar[str] = "have a confidence outside [0, 1]"


class ExpectConfidenceToVary(gxe.ExpectColumnUniqueValueCountToBeBetween):
    """Expect different products to have different confidences."""

    min_value: int = 2
    what: ClassVar[str] = "different confidences occur"


class ExpectAbstainedShareBelow(CountsOnly, gxe.ExpectColumnValuesToNotBeNull):
    """Expect a label often enough to be of use."""

    what: ClassVar[str] = "have no label"


class ExpectBaselineOfSameModel(CountsOnly, gxe.ExpectColumnValuesToBeInSet):
    """Expect answers of the model_version that the baseline counts."""

    column: str = "model_version"
    what: ClassVar[str] = "are of another model_version than the baseline"
    says_values: ClassVar[bool] = True
    advice: ClassVar[str] = (
        "Look at the candidates, then build a baseline of them (`catalog-enrich baseline "
        "--run-id`), or set validation.baseline_of_other_model to warn"
    )


class AnswerCountsMetric(TableMetricProvider):
    """The `AnswerCounts` of a batch."""

    metric_name = ANSWER_COUNTS

    @metric_value(engine=SparkDFExecutionEngine)
    def _spark(
        cls,  # noqa: N805, as Great Expectations calls it
        execution_engine: SparkDFExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        **_: object,
    ) -> AnswerCounts:
        return count_answers(_rows(execution_engine, metric_domain_kwargs))


class AnswersExpectation(BatchExpectation):
    """A rule on the counts of a run's answers, of all products or of one category.

    `column` is the attribute; None for rules on all of them. `category` is None for all products.
    """

    column: str | None = None
    category: str | None = None

    metric_dependencies: ClassVar[tuple[str, ...]] = (ANSWER_COUNTS,)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "category")

    @abstractmethod
    def judge(self, counts: AnswerCounts) -> Finding | None:
        """Return the rule's finding; None where there is nothing to look at."""

    def about(self, finding: Finding) -> Column | None:
        """Return the condition on the rows that a failed check is about; None for no row."""
        return None

    def _validate(
        self,
        metrics: Mapping[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine | None = None,
    ) -> dict[str, Any]:
        finding = self.judge(metrics[ANSWER_COUNTS])
        if finding is None:
            return {"success": True, "result": {"observed_value": None, "detail": None}}
        result = {
            "observed_value": finding.observed,
            "allowance": finding.allowance,
            "detail": finding.detail,
        }
        if not finding.passed and (about := self.about(finding)) is not None:
            rows = _rows(execution_engine, {})
            if self.category is not None:
                about = about & (F.col(GROUP) == self.category)
            result["products"] = list_products(rows.where(about))
        return {"success": finding.passed, "result": result}


class BaselineExpectation(AnswersExpectation):
    """A rule on how far shares may be from those that a baseline leads to expect.

    Attributes:
        expected: shares by name; they sum to one.
        baseline: name of the baseline.
        baseline_rows: how many rows the shares were counted on.
        max_shift: share of products, in [0, 1].
        setting: name of the setting that `max_shift` is from.
        alpha: probability with which a sound run may fail, in (0, 1).
    """

    expected: dict[str, float]
    baseline: str = "baseline"
    baseline_rows: float
    max_shift: float
    setting: str = "expectations"
    alpha: float = 0.001

    success_keys: ClassVar[tuple[str, ...]] = (
        *AnswersExpectation.success_keys,
        *("expected", "baseline", "baseline_rows", "max_shift", "setting", "alpha"),
    )

    @staticmethod
    @abstractmethod
    def count(group: GroupCounts, attribute: str) -> Mapping[str, int]:
        """Return the products by name."""

    @staticmethod
    @abstractmethod
    def compare(counts: Mapping[str, int], expected: BaselineShares, limit: Limit) -> Finding:
        """Return the finding of the rule, a pure function of `distribution`."""

    def judge(self, counts: AnswerCounts) -> Finding | None:
        """Compare the group's counts with the expected shares."""
        group = counts.group(self.category)
        counted = self.count(group, str(self.column)) if group else {}
        if sum(counted.values()) < MIN_COMPARED:
            return None
        expected = BaselineShares(self.baseline, self.expected, self.baseline_rows)
        limit = Limit(self.setting, self.max_shift, self.alpha)
        return self.compare(counted, expected, limit)


class ExpectLabelSharesNearBaseline(BaselineExpectation):
    """Expect every label, NULL included, to be as frequent as in the baseline."""

    compare = staticmethod(distribution.judge_label_shares)

    @staticmethod
    def count(group: GroupCounts, attribute: str) -> Mapping[str, int]:
        """Return the products by label, ABSTAINED among the labels."""
        return group.attributes[attribute].labels

    def about(self, finding: Finding) -> Column:
        """Return whether a row has one of the labels that became more frequent."""
        return F.coalesce(col(str(self.column)), F.lit(ABSTAINED)).isin(*finding.grown)


class ExpectLabelMixNearBaseline(ExpectLabelSharesNearBaseline):
    """Expect few products to need another label to show the baseline's shares."""

    compare = staticmethod(distribution.judge_label_mix)


class ExpectConfidencesNearBaseline(BaselineExpectation):
    """Expect as many products below any confidence as in the baseline."""

    compare = staticmethod(distribution.judge_confidences)

    @staticmethod
    def count(group: GroupCounts, attribute: str) -> Mapping[str, int]:
        """Return the products by bin of confidence."""
        counted = group.attributes[attribute].confidences
        return dict(zip(CONFIDENCE_BINS, counted, strict=True))

    def about(self, finding: Finding) -> Column:
        """Return whether a row's confidence lies on the side that grew."""
        edge = CONFIDENCE_EDGES[CONFIDENCE_BINS.index(finding.grown[-1])]
        confidence = col(f"{self.column}_confidence")
        if finding.grown[0] == CONFIDENCE_BINS[0]:
            return confidence < edge
        return confidence >= CONFIDENCE_EDGES[CONFIDENCE_BINS.index(finding.grown[0]) - 1]


class ExpectModalitiesNearBaseline(BaselineExpectation):
    """Expect answers to rest on pictures and texts as often as in the baseline."""

    compare = staticmethod(distribution.judge_modalities)

    @staticmethod
    def count(group: GroupCounts, attribute: str) -> Mapping[str, int]:
        """Return the products by modalities, the same for all attributes."""
        return group.modalities

    def about(self, finding: Finding) -> Column:
        """Return whether a row rests on modalities that became more frequent."""
        return F.col(MODALITIES).isin(*finding.grown)


class ExpectLabelsToAgreeWithPublished(AnswersExpectation):
    """Expect few unchanged products to have another best label than the published one.

    Compared are rows of the same model_version, or without `same_model` those of others.
    `max_moved`, from a setting of this name, is a share of products in [0, 1]. `alpha` in (0, 1) is
    the probability with which a run whose true share is `max_moved` may fail.
    """

    same_model: bool
    max_moved: float
    setting: str = "expectations"
    alpha: float = 0.001

    success_keys: ClassVar[tuple[str, ...]] = (
        *AnswersExpectation.success_keys,
        *("same_model", "max_moved", "setting", "alpha"),
    )

    def judge(self, counts: AnswerCounts) -> Finding | None:
        """Compare the published best labels with the new ones."""
        key = MovedKey(str(self.column), self.category, self.same_model)
        moved = counts.moved.get(key, MovedCounts(0, 0))
        if not moved.compared:
            return None
        model = "the same model_version" if self.same_model else "another model_version"
        return distribution.judge_moved(
            moved, model, Limit(self.setting, self.max_moved, self.alpha)
        )

    def about(self, finding: Finding) -> Column:
        """Return whether a row's best label is another than the published one."""
        published = F.col(PUBLISHED)
        is_same = published[MODEL] == F.col(MODEL)
        moved = F.col(BEST)[self.column] != published["best"][self.column]
        return moved & (is_same == F.lit(self.same_model))


def list_products(rows: DataFrame) -> list[str]:
    """Return the rows' product ids in order, at most MAX_PRODUCTS; one Spark action."""
    named = rows.where(F.col("product_id").isNotNull()).select("product_id")
    return [row[0] for row in named.orderBy("product_id").limit(MAX_PRODUCTS).collect()]


def _rows(engine: Any, domain: dict[str, Any]) -> DataFrame:
    return engine.get_compute_domain(domain, domain_type=MetricDomainTypes.TABLE)[0]
