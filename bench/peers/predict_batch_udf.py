"""Spark's own way to run a model: `predict_batch_udf` behind a pandas UDF that decodes.

As its documentation has it, tensors are columns of flat arrays, and so pixels travel through Arrow
from the one function to the other. With care: as bytes rather than floats, in Arrow batches of the
model's batch size instead of 10,000 rows, one task a core.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql.functions import pandas_udf
from pyspark.sql.types import ArrayType, ByteType

from bench.peers.model import load_once, read_pixels, read_size_px
from bench.peers.spark_columns import ANSWER, select_inputs
from bench.peers.stages import Classify, build_stages
from bench.setup import Setup
from bench.spark_session import open_spark
from bench.stage import Stage

Predict = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields this peer's stages."""
    with open_peer(setup) as classify:
        yield build_stages("predict_batch_udf", classify, setup)


@contextmanager
def open_peer(setup: Setup) -> Iterator[Classify]:
    """Yields what classifies the first products of the set-up."""
    size_px = read_size_px(setup.checkpoint)

    def build_predict(same_arithmetic: bool) -> Callable[[], Predict]:
        def load() -> Predict:
            model = load_once(setup.checkpoint, same_arithmetic)
            return lambda pixels, texts: model(pixels.view(np.uint8), texts.tolist())

        return load

    def build_decode(same_arithmetic: bool) -> Callable[[pd.Series], pd.Series]:
        def decode(files: pd.Series) -> pd.Series:
            # Spark gives its idle workers to either function, in any order: the model is loaded in
            # all of them while they are warmed, and never while they are timed.
            load_once(setup.checkpoint, same_arithmetic)
            # Spark has signed bytes only.
            return files.map(lambda file: read_pixels(file, size_px).ravel().view(np.int8))

        return decode

    with open_spark(setup) as (spark, products):
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", setup.batch_size)
        inputs = select_inputs(products, setup)
        udfs = {
            same: (
                pandas_udf(build_decode(same), ArrayType(ByteType())),
                predict_batch_udf(
                    build_predict(same),
                    return_type=ANSWER,
                    batch_size=setup.batch_size,
                    input_tensor_shapes=[[3, size_px, size_px], None],
                ),
            )
            for same in (False, True)
        }

        def classify(count: int, same_arithmetic: bool) -> pd.DataFrame:
            decode, predict = udfs[same_arithmetic]
            asked = inputs.limit(count).repartition(setup.cores)
            answer = predict(decode("file"), "text").alias("answer")
            return asked.select("product_id", answer).select("product_id", "answer.*").toPandas()

        yield classify
