"""The expectations of the gate, as Great Expectations evaluates them over a table of figures.

Builds expectations and runs none. Every class is a core expectation under the name that it has in
this domain; the name reaches the report, the label_quality table and the Data Docs page.
"""

from collections import Counter
from collections.abc import Sequence

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations import ExpectationSuite

from expectations.checks import Check

# Great Expectations 1.24 writes names into its pages unescaped, where a category such as
# "</script>" would run, and reads "$" as a placeholder. They become stand-ins.
MARKUP = str.maketrans("<>$&", "\u2039\u203a\uff04\uff06")


class ExpectAllRowsStaged(gxe.ExpectColumnMaxToBeBetween):
    """Every row of the run is there."""


class ExpectOneRowPerProduct(gxe.ExpectColumnMaxToBeBetween):
    """No product_id is missing or repeated."""


class ExpectKnownLabels(gxe.ExpectColumnMaxToBeBetween):
    """Labels come from the checkpoint's set; NULL is an abstention, which is allowed."""


class ExpectConfidencePresent(gxe.ExpectColumnMaxToBeBetween):
    """A confidence is there also where the classifier abstained."""


class ExpectConfidenceInUnitInterval(gxe.ExpectColumnMaxToBeBetween):
    """Confidences are probabilities; NaN is none."""


class ExpectConfidenceToVary(gxe.ExpectColumnMinToBeBetween):
    """Not every product has the same confidence."""


class ExpectAbstainedShareBelow(gxe.ExpectColumnMaxToBeBetween):
    """The classifier answers often enough to be of use."""


class ExpectBaselineOfSameModel(gxe.ExpectColumnMaxToBeBetween):
    """What the run is compared to was built with its own model."""


class ExpectAgreementWithPublished(gxe.ExpectColumnMinToBeBetween):
    """Unchanged products keep the label that the same model gave them."""


class ExpectAgreementWithOtherModel(gxe.ExpectColumnMinToBeBetween):
    """Most unchanged products keep the label that another model gave them."""


class ExpectLabelDistributionNearBaseline(gxe.ExpectColumnMaxToBeBetween):
    """Label shares, abstentions among them, stay close to the baseline (KL divergence)."""


class ExpectFewLabelsMoved(gxe.ExpectColumnMaxToBeBetween):
    """The same as a share of products (total variation)."""


class ExpectConfidenceDistributionNearBaseline(gxe.ExpectColumnMaxToBeBetween):
    """The classifier is as sure as in the baseline (Kolmogorov's distance)."""


class ExpectAnsweredConfidenceNearBaseline(gxe.ExpectColumnMaxToBeBetween):
    """What the classifier believes of its precision stays close to the baseline."""


class ExpectModalitiesNearBaseline(gxe.ExpectColumnMaxToBeBetween):
    """Answers rest on images and texts as often as in the baseline."""


class ExpectProductIdsPresent(gxe.ExpectColumnMaxToBeBetween):
    """Few rows lack their key."""


class ExpectProductIdsUnique(gxe.ExpectColumnMaxToBeBetween):
    """Few rows share their key."""


class ExpectTextPresent(gxe.ExpectColumnMaxToBeBetween):
    """Most products have a title or a description."""


class ExpectImagesReachable(gxe.ExpectColumnMaxToBeBetween):
    """Most images of a sample can be read."""


def build_suite(name: str, checks: Sequence[Check]) -> ExpectationSuite:
    """Builds the suite of these checks."""
    # Passed at once: add_expectation() looks for a data context, which only a validation has.
    expectations = [_build_expectation(*named) for named in name_figures(checks).items()]
    return ExpectationSuite(name=name, expectations=expectations)


def build_figures_table(checks: Sequence[Check]) -> pd.DataFrame:
    """Returns one row with a column for what each check observed."""
    named = name_figures(checks)
    return pd.DataFrame({name: [float(check.observed)] for name, check in named.items()})


def name_figures(checks: Sequence[Check]) -> dict[str, Check]:
    """Returns the checks by the columns of their figures, the headings of the Data Docs page.

    No two are alike, in capitals or small letters: Great Expectations takes those for one column.
    """
    named: dict[str, Check] = {}
    seen: Counter[str] = Counter()
    for check in checks:
        words = check.expectation.removeprefix("expect_").replace("_", " ")
        name = ": ".join(part for part in (check.about, words) if part).translate(MARKUP)
        seen[name.casefold()] += 1
        times = seen[name.casefold()]
        named[name if times == 1 else f"{name} ({times})"] = check
    return named


def _build_expectation(figure: str, check: Check) -> gxe.Expectation:
    return EXPECTATIONS[check.expectation](
        column=figure,
        min_value=check.at_least,
        max_value=check.at_most,
        severity=check.severity,
        description=f"{check.rule} {_allowed(check)}".translate(MARKUP),
    )


def _allowed(check: Check) -> str:
    bound = "at most" if check.at_least is None else "at least"
    return f"Allowed: {bound} {check.threshold:.4g}."


EXPECTATIONS = {
    expectation.expectation_type: expectation
    for expectation in (
        ExpectAllRowsStaged,
        ExpectOneRowPerProduct,
        ExpectKnownLabels,
        ExpectConfidencePresent,
        ExpectConfidenceInUnitInterval,
        ExpectConfidenceToVary,
        ExpectAbstainedShareBelow,
        ExpectBaselineOfSameModel,
        ExpectAgreementWithPublished,
        ExpectAgreementWithOtherModel,
        ExpectLabelDistributionNearBaseline,
        ExpectFewLabelsMoved,
        ExpectConfidenceDistributionNearBaseline,
        ExpectAnsweredConfidenceNearBaseline,
        ExpectModalitiesNearBaseline,
        ExpectProductIdsPresent,
        ExpectProductIdsUnique,
        ExpectTextPresent,
        ExpectImagesReachable,
    )
}
