"""What the peers on Spark start from, and what they answer with."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StructField, StructType

from bench.setup import Setup

ANSWER = StructType(
    [
        StructField("labels", ArrayType(IntegerType())),
        StructField("scores", ArrayType(FloatType())),
    ]
)


def select_inputs(products: DataFrame, setup: Setup) -> DataFrame:
    """Returns product_id, text and file of the products."""
    return products.select(
        "product_id",
        F.concat_ws(". ", "title", "description").alias("text"),
        F.concat(F.lit(f"{setup.products_file.parent}/"), "image_path").alias("file"),
    )
