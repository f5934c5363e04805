"""Refresh a shop through Spark Connect: publish, publish a change, take it back.

    SPARK_REMOTE='local[2]' python tests/spark/refresh_remotely.py FOLDER DATABASE

A process of its own: a session is either remote or not. Prints what happened as a JSON object.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import is_remote
from shop import Shop, products

from enrich.config import ColumnNames
from enrich.spark.session import open_session
from enrich.spark.source import open_source


def main(folder: Path, database: str) -> None:
    spark = open_session("refresh_remotely")
    assert is_remote()
    shop = Shop(spark, folder, database)
    shop.write(products(40))
    told = {"first": shop.refresh(config={"products_per_chunk": 15}).counts}
    before = shop.table("product_attributes").set_index("product_id")["color"].to_dict()
    changed = products(40)
    changed.loc[3, "title"] = "another shirt"
    shop.write(changed)
    third = shop.refresh()
    told["changed"] = third.counts
    shop.roll_back(third.run_id)
    after = shop.table("product_attributes").set_index("product_id")["color"].to_dict()
    told["is_restored"] = before == after
    told["state"] = shop.state(third.run_id)
    told["files"] = shop.maintain()["files_after"]
    left = folder / "warehouse" / f"{database.rpartition('.')[2]}.db" / "_temporary_runs"
    told["folders_left"] = len(list(left.iterdir()))
    told["partitions"] = read_partitions(shop)
    print(json.dumps(told, default=str))


def read_partitions(shop: Shop) -> list[str]:
    """Return the ids of a CSV table whose partitions are named by them."""
    for name in ("007", "1e3"):
        part = shop.folder / "parts.csv" / f"product_id={name}" / "part.csv"
        part.parent.mkdir(parents=True)
        part.write_text("title\na shirt\n")
    names = ColumnNames(description=None, image_path=None)
    source = open_source(shop.spark, str(shop.folder / "parts.csv"), names)
    return sorted(row["product_id"] for row in source.products.collect())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
