"""The expectations of the gate, as Great Expectations evaluates them over a table of figures.

Builds expectations and runs none. Each is a core expectation under the name that its check has; the
name reaches the report, the label_quality table and the Data Docs page.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations import ExpectationSuite

from expectations.checks import Check

# Great Expectations 1.24 writes names into its pages unescaped, where a category such as
# "</script>" would run, and reads "$" as a placeholder. They become stand-ins.
MARKUP = str.maketrans("<>$&", "\u2039\u203a\uff04\uff06")


def name_figures(checks: Sequence[Check]) -> dict[str, Check]:
    """Returns the checks by the columns of their figures, the headings of the Data Docs page.

    No two are alike, in capitals or small letters: Great Expectations takes those for one column.
    """
    named: dict[str, Check] = {}
    seen: Counter[str] = Counter()
    for check in checks:
        name = ": ".join(part for part in (check.about, check.words) if part).translate(MARKUP)
        seen[name.casefold()] += 1
        times = seen[name.casefold()]
        named[name if times == 1 else f"{name} ({times})"] = check
    return named


def build_suite(name: str, checks: Mapping[str, Check]) -> ExpectationSuite:
    """Builds the suite of checks by their figures' names."""
    # Passed at once: add_expectation() looks for a data context, which only a validation has.
    expectations = [_build_expectation(*named) for named in checks.items()]
    return ExpectationSuite(name=name, expectations=expectations)


def build_figures_table(checks: Mapping[str, Check]) -> pd.DataFrame:
    """Returns one row with a column for what each check observed."""
    return pd.DataFrame({name: [float(check.observed)] for name, check in checks.items()})


def _build_expectation(figure: str, check: Check) -> gxe.Expectation:
    is_ceiling = check.at_least is None
    core = gxe.ExpectColumnMaxToBeBetween if is_ceiling else gxe.ExpectColumnMinToBeBetween
    return _named(check.expectation, core)(
        column=figure,
        min_value=check.at_least,
        max_value=check.at_most,
        severity=check.severity,
        description=f"{check.rule} {_allowed(check)}".translate(MARKUP),
    )


@cache
def _named(name: str, core: type[gxe.Expectation]) -> type[gxe.Expectation]:
    """Returns a core expectation under another name, in snake case.

    Cached, because Great Expectations registers every class that is made.
    """
    return type(name.title().replace("_", ""), (core,), {"__module__": __name__})


def _allowed(check: Check) -> str:
    bound = "at most" if check.at_least is None else "at least"
    return f"Allowed: {bound} {check.threshold:.4g}."
