"""What the flags say of a run that waits."""

import pytest
from enrich.settlement import choose_settlement

from enrich.errors import ConfigError


@pytest.mark.parametrize("blank", ["", "  ", "\t\r\n"])
def test_a_reason_of_blanks_is_none(blank: str) -> None:
    with pytest.raises(ConfigError, match="why is the run dropped"):
        choose_settlement(None, "monday", blank, {})
    publish = choose_settlement("monday", None, blank, {})
    assert publish is not None and not publish.reason


def test_a_reason_is_kept_without_the_blanks_around_it() -> None:
    drop = choose_settlement(None, "monday", " wrong images\n", {})
    assert drop is not None and drop.reason == "wrong images"
