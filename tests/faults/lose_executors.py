"""Kill an executor while a chunk of encodings is written, several times; print what was written.

    python tests/faults/lose_executors.py FOLDER TIMES

Runs as a process of its own: a local cluster of two executors in processes of their own.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
from own_process import open_local
from shop import Shop, products

from bench.fake_engine import FakeEngineSpec
from enrich.spark.tables import Tables

PRODUCTS = 1_500
# So long after the write began its tasks are at work, and far from their end.
KILL_AFTER_S = 2.5
# Confidences differ at each try, as where a GPU adds in no fixed order.
ENGINE = FakeEngineSpec(seconds_per_product=0.005, confidence_noise=True)
SETTINGS = {
    "spark.master": "local-cluster[2,1,1024]",
    "spark.executor.memory": "512m",
    "spark.sql.shuffle.partitions": "2",
}


def kill_an_executor(killed: list[int]) -> None:
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue  # Java's helpers end, and nobody asks how
        if "CoarseGrainedExecutorBackend" in command:
            process.kill()
            killed.append(process.pid)
            return


def main(folder: Path, times: int) -> None:
    shop, killed = Shop(open_local(folder, SETTINGS), folder, "shop"), list[int]()
    append = Tables.append

    def append_beside_a_kill(self: Tables, table: str, *rest: Any) -> None:
        timer = threading.Timer(KILL_AFTER_S, kill_an_executor, [killed])
        if table == "encodings":
            timer.start()
        append(self, table, *rest)
        timer.cancel()

    Tables.append = append_beside_a_kill  # type: ignore[method-assign]
    written = []
    for time in range(times):
        shop.write(products(PRODUCTS, mark=f" time {time}"))
        run = shop.refresh(spec=ENGINE)
        own = f"WHERE run_id = '{run.run_id}'"
        row = shop.sql(
            f"SELECT count(*) AS rows, count(DISTINCT content_hash) AS contents "
            f"FROM shop.encodings {own}"
        ).iloc[0]
        published = shop.sql(f"SELECT count(*) AS n FROM shop.product_attributes {own}")
        written.append([int(row["rows"]), int(row["contents"]), int(published["n"].iloc[0])])
    print(json.dumps({"asked": PRODUCTS, "kills": len(killed), "written": written}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
