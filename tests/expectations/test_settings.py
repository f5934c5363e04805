"""What a catalog may deviate by is a number."""

import pytest
from pydantic import ValidationError

from expectations.settings import ValidationSettings


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("setting", ValidationSettings.model_fields)
def test_a_truth_value_of_yaml_is_no_number(setting: str, value: bool) -> None:
    with pytest.raises(ValidationError, match="yes, no, on and off"):
        ValidationSettings.model_validate({setting: value})
