"""Refresh twenty products in chunks of four, slowly: python tests/faults/slow_refresh.py FOLDER."""

import json
import sys
from pathlib import Path

from own_metastore import derby
from pyspark.sql import SparkSession
from shop import Shop, products

from enrich.engine.fake_engine import FakeEngineSpec

folder = Path(sys.argv[1])
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.ui.enabled", "false")
    .config(map=derby(f";databaseName={folder / 'metastore'}"))
    .enableHiveSupport()
    .getOrCreate()
)
shop = Shop(spark, folder, "shop")
shop.write(products(20))
engine = FakeEngineSpec(seconds_per_product=0.1)
summary = shop.refresh(spec=engine, config={"products_per_chunk": 4})
print(json.dumps(summary.counts))
