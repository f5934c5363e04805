"""Which known error lies behind one of Spark's."""

from collections.abc import Iterator

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from enrich.errors import CheckpointError, EnrichError, StorageFailed
from enrich.spark.failures import explain_failure


def _fail_with(spark: SparkSession, raised: Exception) -> EnrichError | None:
    """Returns what is made of a write that failed because a worker raised an exception."""

    def fail(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        raise raised
        yield from frames

    with pytest.raises(Exception, match="Traceback") as caught:
        spark.range(1).mapInPandas(fail, "id LONG").collect()
    return explain_failure(caught.value)


def test_a_checkpoint_that_a_worker_cannot_load_is_said_to_be_wrong(spark: SparkSession) -> None:
    found = _fail_with(spark, CheckpointError("model.safetensors is of another configuration:\n x"))
    assert isinstance(found, CheckpointError)
    assert found.exit_code == 2
    assert str(found) == "model.safetensors is of another configuration:"


def test_what_is_no_wrong_input_stays_what_it_was(spark: SparkSession) -> None:
    assert _fail_with(spark, RuntimeError("as enrich.errors.CheckpointError: says")) is None
    assert _fail_with(spark, EnrichError("something else")) is None
    assert isinstance(_fail_with(spark, OSError(28, "No space left on device")), StorageFailed)
