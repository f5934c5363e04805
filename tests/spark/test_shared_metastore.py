"""Settings of a shared metastore that are refused; tests/faults runs sessions on a real one."""

from typing import Any

import pytest

from enrich.errors import ConfigError, MetastoreBusy
from enrich.spark.metastore.creation import _explain_creation
from enrich.spark.metastore.shared import refuse_closed_metastore


def test_address_with_a_password_is_refused_without_repeating_it() -> None:
    no_session: Any = None

    with pytest.raises(ConfigError, match="ConnectionURL holds a password") as refused:
        refuse_closed_metastore(no_session, "jdbc:postgresql://db/names?user=enrich&password=hush")

    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "said",
    [
        'ERROR: relation "DBS" already exists',
        'ERROR: duplicate key value violates unique constraint "pg_type_typname_nsp_index"',
    ],
)
def test_of_two_that_make_a_metastore_the_late_one_is_told_to_repeat(said: str) -> None:
    error = RuntimeError("the tables of Hive could not be made")
    error.__cause__ = RuntimeError(said)

    told = _explain_creation(error, "jdbc:postgresql://db/names")

    assert isinstance(told, MetastoreBusy)
    assert "another process prepares the metastore at jdbc:postgresql://db/names" in str(told)
