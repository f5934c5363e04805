"""Refresh a shop twice, on a store that loses the answer to each of the run's commits.

    python tests/faults/refresh_on_lost_answers.py FOLDER CLASSES

CLASSES holds the compiled LosesAnswers.java. A process of its own: Delta chooses a store as Spark
starts.
"""

import json
import sys
from pathlib import Path

from own_process import open_local
from shop import Shop, products


def main(folder: Path, classes: Path) -> None:
    settings = {
        "spark.master": "local[1]",
        "spark.driver.extraClassPath": str(classes),
        "spark.delta.logStore.file.impl": "LosesAnswers",
    }
    shop = Shop(open_local(folder, settings), folder, "shop")
    shop.write(products())
    shop.refresh()
    shop.write(products(mark=" anew"))
    summary = shop.refresh(config={"products_per_chunk": 3})
    rows = {
        name: len(shop.table(name)) for name in ("encodings", "candidates", "product_attributes")
    }
    commits = len(shop.tables.read_commits())
    print(json.dumps({"state": shop.state(summary.run_id), "rows": rows, "commits": commits}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
