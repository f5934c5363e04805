"""Does with two rows what the jobs do with Spark and Delta, so that Java loads the classes for it.

The set-up runs this once in a Java that writes what it has loaded to an archive for later ones.
Its tables are in a temporary folder.
"""

import tempfile
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf

TABLE = "shop.products"


def main() -> None:
    """Makes a table, writes, merges and reads it."""
    with tempfile.TemporaryDirectory() as folder:
        jdo = "spark.hadoop.javax.jdo.option"
        metastore = f"jdbc:derby:;databaseName={folder}/metastore;create=true"
        spark = (
            SparkSession.builder.appName("load_classes")
            .config("spark.sql.warehouse.dir", f"{folder}/warehouse")
            .config(f"{jdo}.ConnectionURL", metastore)
            # The defaults may name a shared metastore.
            .config(f"{jdo}.ConnectionDriverName", "org.apache.derby.jdbc.EmbeddedDriver")
            .config("spark.hadoop.datanucleus.schema.autoCreateAll", "true")
            .enableHiveSupport()
            .getOrCreate()
        )
        make_table(spark)
        products = make_products(spark, f"{folder}/products.parquet")
        survey = survey_products(spark, products, f"{folder}/survey.parquet")
        publish(spark, products, survey)
        # Before its folder goes.
        spark.stop()


def make_table(spark: SparkSession) -> None:
    """Creates a Delta table and a view over it."""
    spark.sql("CREATE DATABASE shop")
    spark.sql("SHOW TABLES IN shop").collect()
    spark.sql(
        f"CREATE TABLE {TABLE} (product_id STRING NOT NULL COMMENT 'key', run_id STRING, "
        "title STRING, seconds MAP<STRING, DOUBLE>) USING DELTA TBLPROPERTIES "
        "('delta.enableChangeDataFeed' = 'true', 'delta.constraints.named' = 'product_id <> \"\"')"
    )
    spark.sql(f"CREATE VIEW shop.titles AS SELECT product_id, title FROM {TABLE}")


def make_products(spark: SparkSession, file: str) -> DataFrame:
    """Writes two products and reads them back, through Python."""
    table = spark.read.table(TABLE)
    rows = [
        {"product_id": one, "run_id": "monday", "title": "shirt", "seconds": {"read": 1.0}}
        for one in ("1", "2")
    ]
    arrow = pa.Table.from_pylist(rows, schema=table.limit(0).toArrow().schema)
    spark.createDataFrame(arrow, table.schema).write.parquet(file)

    def handed_through(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        yield from batches

    in_python = pandas_udf(handed_through, "string")  # type: ignore[call-overload]
    return spark.read.parquet(file).withColumn("title", in_python("title"))


def survey_products(spark: SparkSession, products: DataFrame, file: str) -> DataFrame:
    """Writes the products beside what is published of them, and counts them."""
    published = spark.read.table(TABLE)
    place = F.row_number().over(Window.partitionBy("product_id").orderBy("title"))
    known = published.groupBy("product_id").agg(F.every(F.col("title").isNotNull()).alias("known"))
    old = published.select("product_id", F.col("title").alias("old"))
    beside = products.withColumn("place", place).join(old, "product_id", "full")
    beside.join(known, "product_id", "left").write.parquet(file)
    survey = spark.read.parquet(file)
    digest = F.sum(F.xxhash64("product_id").cast("decimal(38,0)"))
    survey.groupBy("title").agg(F.count("*"), digest).collect()
    survey.join(published, "product_id", "left_anti").isEmpty()
    return survey


def publish(spark: SparkSession, products: DataFrame, survey: DataFrame) -> None:
    """Overwrites the rows of a run, merges, and looks at the result."""
    writer = products.coalesce(1).write.format("delta").mode("overwrite")
    writer.option("replaceWhere", "run_id = 'monday'").saveAsTable(TABLE)
    merged = (
        DeltaTable.forName(spark, TABLE)
        .alias("old")
        .merge(survey.select(*products.columns).alias("new"), "old.product_id = new.product_id")
    )
    merged.whenMatchedUpdate(set={"title": "new.title"}).whenNotMatchedInsertAll().execute()
    spark.sql(f"DESCRIBE HISTORY {TABLE} LIMIT 1").first()
    spark.read.table("shop.titles").orderBy("product_id").limit(1).collect()


if __name__ == "__main__":
    main()
