"""Which commits are made again, how often, and what is said when that does not help."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from delta.exceptions import ConcurrentAppendException
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException

from enrich.errors import TableContended
from enrich.spark.tables.conflicts import retried_on_conflict


class Tables:
    """Output tables whose commits fail with the given errors, one after the other."""

    database = "shop"

    def __init__(self, *errors: Exception) -> None:
        self.errors: Iterator[Exception] = iter(errors)
        self.tried = 0

    @retried_on_conflict
    def commit(self, answer: str) -> str:
        self.tried += 1
        for error in self.errors:
            raise error
        return answer


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    return waits


def test_commit_that_another_process_was_faster_than_is_made_again(waits: list[float]) -> None:
    tables = Tables(conflict(), conflict())

    assert tables.commit("done") == "done"
    assert (tables.tried, len(waits)) == (3, 2)


def test_commit_that_always_loses_stops_and_says_what_to_do(waits: list[float]) -> None:
    tables = Tables(*[conflict() for _ in range(20)])

    with pytest.raises(
        TableContended, match=r"tables of shop .* 8 times .*start the same run again"
    ):
        tables.commit("never")
    assert tables.tried == 8
    assert max(waits) <= 30


def test_table_that_another_process_is_creating_is_waited_for() -> None:
    assert Tables(half_created(), half_created()).commit("done") == "done"


def test_view_that_another_process_is_replacing_is_waited_for() -> None:
    assert Tables(half_created("TABLE_OR_VIEW_NOT_FOUND")).commit("done") == "done"


def test_creation_whose_folder_another_process_removed_is_begun_again() -> None:
    said = "File file:/warehouse/shop.db/quarantine/_delta_log does not exist"
    java = SimpleNamespace(_target_id="o1", getMessage=lambda: said)

    assert Tables(Py4JJavaError("an error", java)).commit("done") == "done"


def test_a_table_that_only_hive_knows_of_yet_is_looked_for_again() -> None:
    said = "HiveException: AlreadyExistsException(message:Table staged_attributes already exists)"
    error = AnalysisException(f"org.apache.hadoop.hive.ql.metadata.{said}")
    error.getCondition = lambda: None  # type: ignore[method-assign]

    assert Tables(error).commit("done") == "done"


def test_files_of_others_in_the_place_of_a_table_are_called_what_they_are() -> None:
    tables = Tables(*[half_created() for _ in range(20)])

    with pytest.raises(AnalysisException, match="NON_EMPTY_LOCATION"):
        tables.commit("never")
    assert tables.tried == 5


def test_any_other_error_is_raised_at_once() -> None:
    tables = Tables(OSError("disk full"))

    with pytest.raises(OSError, match="disk full"):
        tables.commit("never")
    assert tables.tried == 1


def conflict() -> Exception:
    return ConcurrentAppendException("a concurrent write added data")


def half_created(condition: str = "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION") -> Exception:
    error = AnalysisException(f"[{condition}] not empty and also not a Delta table")
    error.getCondition = lambda: condition  # type: ignore[method-assign]
    return error
