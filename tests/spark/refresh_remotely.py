"""Refresh a shop through Spark Connect: publish, do nothing, publish a change, take it back.

    SPARK_REMOTE='local[2]' python tests/spark/refresh_remotely.py FOLDER DATABASE

A process of its own: a session is either remote or not. Prints what happened as a JSON object.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import is_remote
from shop import Shop, products

from enrich.spark.session import open_session


def main(folder: Path, database: str) -> None:
    spark = open_session("refresh_remotely")
    assert is_remote()
    shop = Shop(spark, folder, database)
    shop.write(products(40))
    told = {"first": shop.refresh(config={"products_per_chunk": 15}).counts}
    commits = len(shop.tables.read_commits())
    told["again"] = shop.refresh().counts
    told["commits_of_doing_nothing"] = len(shop.tables.read_commits()) - commits
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
    print(json.dumps(told, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
