"""Two products in a file or Delta table of any kind that the job reads."""

from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

TABLE = pd.DataFrame(
    {
        "product_id": ["1", "2"],
        "title": ['a, quoted "shirt"', "two\nlines"],
        "description": ["x", None],
        "image_path": ["1.jpg", "2.jpg"],
    }
)


def write_table(folder: Path, kind: str, spark: SparkSession, table: pd.DataFrame = TABLE) -> str:
    file = folder / f"products.{kind}"
    if kind == "parquet":
        table.to_parquet(file)
    elif kind == "csv":
        table.to_csv(file, index=False, doublequote=True)
    elif kind == "json":
        table.to_json(file, orient="records", lines=True)
    else:
        file = folder / "products"
        spark.createDataFrame(table).write.format("delta").save(str(file))
    return str(file)
