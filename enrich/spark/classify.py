"""Classify products in a column expression, for notebooks and SQL, without tables.

Each Python worker loads the engine once. Nothing is stored: a second query reads pictures again.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from schemas.tables import answer_columns

from enrich.classifiers.manifest import fetch_manifest
from enrich.config import JobConfig
from enrich.engine.columns import to_table
from enrich.engine.spec import EngineSpec, build_spec
from enrich.errors import ConfigError
from enrich.records import Product
from enrich.spark.worker import get_engine

if TYPE_CHECKING:
    from enrich.engine.engine import Engine


def classify(
    title: Column | str,
    description: Column | str,
    image_path: Column | str,
    *,
    image_root: str,
    settings: JobConfig | None = None,
) -> Column:
    """Return a struct column: labels, confidences, and the status of what was read.

    Fields are those of `product_attributes`: `color`, `color_confidence`, ..., `predictions`, then
    `modalities`, `status`, `error` and `model_version`. A broken picture stops nothing.

    Args:
        title: Strings, or NULL.
        description: Strings.
        image_path: Paths or addresses of pictures.
        image_root: Start of relative image paths, on every executor.
        settings: Checkpoint, target precision, limits and own labels; those of the job's default.

    Raises:
        ConfigError: The settings do not fit the checkpoint.
        CheckpointError: The checkpoint cannot be read.
    """
    spec = _build_spec(image_root, settings)
    column: Column = _build(spec)(title, description, image_path)
    return column


def register_classify(
    spark: SparkSession, name: str, *, image_root: str, settings: JobConfig | None = None
) -> None:
    """Make `name(title, description, image_path)` a function of SQL; see `classify`."""
    spark.udf.register(name, _build(_build_spec(image_root, settings)))


def _build_spec(image_root: str, settings: JobConfig | None) -> EngineSpec:
    settings = JobConfig() if settings is None else settings
    if settings.applies_to:
        raise ConfigError(
            "applies_to has no effect here, as products have no category. Leave it out."
        )
    return build_spec(settings, fetch_manifest(settings.checkpoint), image_root)


def _build(spec: EngineSpec) -> Callable[..., Any]:
    read = "modalities STRING, status STRING, error STRING, model_version STRING"
    schema = f"STRUCT<{answer_columns(spec.attributes)}, {read}>"

    def answer(batches: Iterator[tuple[pa.Array, pa.Array, pa.Array]]) -> Iterator[pa.Array]:
        engine = cast("Engine", get_engine(spec))
        for columns in batches:
            rows = zip(*(column.to_pylist() for column in columns), strict=True)
            products = [Product(str(place), *row) for place, row in enumerate(rows)]
            encoded = list(engine.encode(products))
            table = to_table(encoded, engine.answerer, spec.attributes, spec.model_version)
            yield table.drop_columns(["product_id"]).to_struct_array()

    # Marked, so that Spark does not compute it once for each use of a field.
    return cast(Any, F.arrow_udf)(answer, schema).asNondeterministic()
