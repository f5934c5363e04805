"""The check that unchanged products keep their published labels.

No other check notices labels that were given to the wrong products, because that changes no
distribution. It has something to look at where products are answered again: by a new checkpoint, or
on demand.
"""

from collections.abc import Iterator
from functools import partial

from schemas.digits import tell_apart

from expectations import chance
from expectations.checks import ChanceCheck, Check
from expectations.figures import Agreement
from expectations.settings import ValidationSettings
from expectations.summary import OTHER, UNKNOWN


def check_agreements(
    agreements: tuple[Agreement, ...], settings: ValidationSettings
) -> Iterator[ChanceCheck]:
    """Yields a check for all products and for every category with enough of them."""
    for agreement in agreements:
        is_whole = agreement.category is None
        is_large = agreement.compared >= settings.min_category_rows
        is_single = agreement.category not in (OTHER, UNKNOWN)
        if agreement.compared and (is_whole or (is_large and is_single)):
            yield partial(_check_agreement, agreement, settings)


def _check_agreement(agreement: Agreement, settings: ValidationSettings, alpha: float) -> Check:
    if agreement.same_model:
        name, whose = "expect_agreement_with_published", "this model_version"
        setting, wanted = "min_agreement_same_model", settings.min_agreement_same_model
    else:
        name, whose = "expect_agreement_with_other_model", "another model_version"
        setting, wanted = "min_agreement_other_model", settings.min_agreement_other_model
    if agreement.category is not None:
        wanted = max(0.0, 1 - settings.category_slack * (1 - wanted))
    share = agreement.agreeing / agreement.compared
    required = chance.required_share(wanted, agreement.compared, alpha)
    found, least = tell_apart(share, required, ".1%")
    return Check(
        expectation=name,
        attribute=agreement.attribute,
        category=agreement.category,
        observed=share,
        at_least=required,
        rule=f"Of unchanged products with a label before and now, {wanted:.0%} keep the label that "
        f"{whose} gave them, less what chance takes from that.",
        finding=f"{found} of {agreement.compared:,} different unchanged products keep the "
        f"published label of {whose}, expected {least} (validation.{setting})",
    )
