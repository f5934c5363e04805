"""The expectations that staged labels must meet, as one Great Expectations suite.

Builds expectations and runs none. Every class is a core expectation under the name that it has in
this domain; the name reaches the report, the label_quality table and the Data Docs page.
"""

from collections.abc import Mapping, Sequence

import great_expectations.expectations as gxe
from great_expectations import ExpectationSuite

from expectations.baseline import LabelBaseline
from expectations.settings import ValidationSettings

# The expected share of all labels together that a baseline never saw. Without it, one such row
# makes the divergence infinite. With it, and the other labels as expected, ten percent of such
# rows move the divergence to 0.37, and one row in 200 moves it to 0.003.
UNSEEN_LABELS_SHARE = 0.001

# Great Expectations 1.24 writes offending values and chart data into its pages unescaped, where a
# label such as "</script>" would run. Labels enter the suite and the rows with stand-ins instead.
MARKUP = "<>"
MARKUP_STAND_INS = "\u2039\u203a"


class ExpectAllRowsStaged(gxe.ExpectTableRowCountToEqual):
    """Every row of the run is there. The checks on values would all pass on an empty table."""


class ExpectOneRowPerProduct(gxe.ExpectColumnUniqueValueCountToBeBetween):
    """As many distinct product_id as rows, which rules out duplicates and NULLs in one count.

    The core uniqueness expectation would put product_id values into the report.
    """

    column: str = "product_id"
    description: str | None = "product_id is unique and never NULL: as many distinct ids as rows."


class ExpectKnownLabels(gxe.ExpectColumnValuesToBeInSet):
    """Labels come from the checkpoint's set; NULL is an abstention, which is allowed."""


class ExpectConfidencePresent(gxe.ExpectColumnValuesToNotBeNull):
    """A confidence is there also where the classifier abstained."""


class ExpectConfidenceInUnitInterval(gxe.ExpectColumnValuesToBeBetween):
    """Confidences are probabilities. NaN fails too: Spark orders it above every number."""

    min_value: float = 0.0
    max_value: float = 1.0
    # The core wording reads the bounds of the call, not these defaults ("may have any value").
    description: str | None = "A confidence is a probability between 0 and 1."


class ExpectAbstainedShareBelow(gxe.ExpectColumnProportionOfNonNullValuesToBeBetween):
    """The classifier answers for at least `min_value` of the rows."""


class ExpectLabelDistributionNearBaseline(gxe.ExpectColumnKLDivergenceToBeLessThan):
    """Label shares, abstentions among them, stay close to the catalog's baseline."""

    tail_weight_holdout: float = UNSEEN_LABELS_SHARE


def confidence_column(attribute: str) -> str:
    """Name of the staged column that holds an attribute's confidence."""
    return f"{attribute}_confidence"


def with_abstained_column(attribute: str) -> str:
    """Name of the derived column where an abstention is a label of its own."""
    return f"{attribute}__with_abstained"


def without_markup(label: str) -> str:
    """The label as it may stand on an HTML page."""
    return label.translate(str.maketrans(MARKUP, MARKUP_STAND_INS))


def build_staged_suite(
    attribute_labels: Mapping[str, Sequence[str]],
    baseline: LabelBaseline | None,
    *,
    rows: int,
    thresholds: ValidationSettings,
) -> ExpectationSuite:
    """Build the suite for one run's staged rows.

    Args:
        attribute_labels: the checkpoint's labels by attribute.
        baseline: expected shares; an attribute without them gets no distribution check.
        rows: how many rows the run staged. An empty table fails, whatever this says.
    """
    # "Values in set" and its like pass on an empty table, so the count must not.
    wanted_rows = max(rows, 1)
    # On few rows a share is a warning: reported, never blocking.
    severity = "critical" if rows >= thresholds.min_rows_to_enforce else "warning"
    expectations = [
        ExpectAllRowsStaged(value=wanted_rows),
        ExpectOneRowPerProduct(min_value=wanted_rows, max_value=wanted_rows),
    ]
    for attribute, labels in attribute_labels.items():
        expectations += _value_expectations(attribute, labels)
        expectations.append(
            _abstained_share_expectation(attribute, thresholds.max_abstained_share, severity)
        )
        if baseline is not None and attribute in baseline.attributes:
            max_divergence = thresholds.max_divergence or baseline.max_divergence
            expectations.append(
                _distribution_expectation(attribute, baseline, max_divergence, severity)
            )
    # Passed at once: add_expectation() looks for a data context, which only a validation has.
    return ExpectationSuite(name="staged_attributes", expectations=expectations)


def _value_expectations(attribute: str, labels: Sequence[str]) -> list[gxe.Expectation]:
    about = {"attribute": attribute}
    confidence = confidence_column(attribute)
    return [
        ExpectKnownLabels(
            column=attribute, value_set=[without_markup(label) for label in labels], meta=about
        ),
        ExpectConfidencePresent(column=confidence, meta=about),
        ExpectConfidenceInUnitInterval(column=confidence, meta=about),
    ]


def _abstained_share_expectation(
    attribute: str, max_share: float, severity: str
) -> ExpectAbstainedShareBelow:
    return ExpectAbstainedShareBelow(
        column=attribute,
        # Rounded, because 1 - 0.7 is above 0.3 and would refuse a share of exactly 0.7.
        min_value=round(1 - max_share, 9),
        severity=severity,
        # The page shows the share of labelled rows beside it, so the sentence speaks of those.
        description=(
            f"At least {1 - max_share:.0%} of rows have a {attribute}; "
            "from the others the classifier abstains."
        ),
        meta={"attribute": attribute},
    )


def _distribution_expectation(
    attribute: str, baseline: LabelBaseline, max_divergence: float, severity: str
) -> ExpectLabelDistributionNearBaseline:
    shares = baseline.attributes[attribute]
    # A share of zero makes the divergence infinite: such a label counts as unseen instead.
    seen = {without_markup(label): share for label, share in shares.items() if share > 0}
    total = sum(seen.values())
    return ExpectLabelDistributionNearBaseline(
        column=with_abstained_column(attribute),
        # The shares of a file are rounded; Great Expectations wants weights that sum to one.
        partition_object={
            "values": list(seen),
            "weights": [share / total for share in seen.values()],
        },
        threshold=max_divergence,
        severity=severity,
        meta={"attribute": attribute, "baseline": baseline.catalog},
    )
