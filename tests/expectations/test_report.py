"""Reading results of Great Expectations without running it."""

import pytest
from great_expectations.core import ExpectationValidationResult

from expectations.report import check_from_result
from expectations.suites import ExpectAbstainedShareBelow

RAISED = {"raised_exception": True, "exception_message": "no column\nJVM stack", "traceback": ""}


@pytest.mark.parametrize("exception_info", [RAISED, {"('column.values', '1')": RAISED}])
def test_check_that_could_not_run_blocks_even_as_a_warning(exception_info: dict) -> None:
    expectation = ExpectAbstainedShareBelow(
        column="color", min_value=0.1, severity="warning", meta={"attribute": "color"}
    )
    result = ExpectationValidationResult(
        success=False,
        expectation_config=expectation.configuration,
        result={},
        exception_info=exception_info,
    )
    check = check_from_result(result)
    assert check.outcome == "fail"
    assert check.observed is None
    assert check.detail == ("color: expect_abstained_share_below could not be evaluated: no column")
