"""Settings of a shared metastore that are refused; tests/faults runs sessions on a real one."""

from typing import Any

import pytest

from enrich.errors import ConfigError
from enrich.spark.metastore.shared import refuse_closed_metastore


def test_address_with_a_password_is_refused_without_repeating_it() -> None:
    no_session: Any = None

    with pytest.raises(ConfigError, match="ConnectionURL holds a password") as refused:
        refuse_closed_metastore(no_session, "jdbc:postgresql://db/names?user=enrich&password=hush")

    assert "hush" not in str(refused.value)
