"""What most people write first: a pandas UDF that calls the processor and the model row by row.

The model is loaded once per worker, the processor is Hugging Face's, all else is default. A text
that goes through the model alone needs no padding.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from PIL import Image
from pyspark.sql.functions import pandas_udf
from transformers import CLIPImageProcessor

from bench.peers.model import load_once, read_size_px
from bench.peers.spark_columns import ANSWER, select_inputs
from bench.peers.stages import Classify
from bench.setup import Setup
from bench.spark_session import open_spark
from bench.stage import Stage

# A row costs the same however many there are, and it costs much: one in so many is measured. What
# a run of Spark takes besides is not shared by as many rows as the job's, and so it is subtracted.
_SHARE = 5


@contextmanager
def open_stages(setup: Setup) -> Iterator[dict[str, Stage]]:
    """Yields this peer's only stage: who calls a model row by row does not tune its precision."""
    with open_peer(setup) as classify:
        few = min(setup.cores, setup.products - 1)
        some = max(few + 1, setup.products // _SHARE)

        def start() -> int:
            return len(classify(few, False))

        yield {"naive_udf": Stage(lambda: len(classify(some, False)), warm=start, start_up=start)}


@contextmanager
def open_peer(setup: Setup) -> Iterator[Classify]:
    """Yields what classifies the first products of the set-up."""

    def answer(files: pd.Series, texts: pd.Series) -> pd.DataFrame:
        processor = _load_processor(setup.checkpoint)
        model = load_once(setup.checkpoint, False)
        answers = []
        for file, text in zip(files, texts, strict=True):
            with Image.open(file) as image:
                inputs = processor(images=image, return_tensors="np")
            batch_of_one = model(inputs["pixel_values"], [text])
            answers.append({name: values[0] for name, values in batch_of_one.items()})
        return pd.DataFrame(answers)

    answer_udf = pandas_udf(answer, ANSWER)
    with open_spark(setup) as (_, products):
        inputs = select_inputs(products, setup)

        def classify(count: int, _same_arithmetic: bool) -> pd.DataFrame:
            asked = inputs.limit(count).repartition(setup.cores)
            answered = asked.select("product_id", answer_udf("file", "text").alias("answer"))
            return answered.select("product_id", "answer.*").toPandas()

        yield classify


@functools.cache
def _load_processor(checkpoint: Path) -> CLIPImageProcessor:
    """Returns CLIP's processor for the checkpoint's size; the classifier normalises by itself."""
    size_px = read_size_px(checkpoint)
    return CLIPImageProcessor(
        size={"shortest_edge": size_px},
        crop_size={"height": size_px, "width": size_px},
        do_rescale=False,
        do_normalize=False,
    )
