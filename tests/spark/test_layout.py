"""A MERGE writes what changed, and what is filtered has statistics."""

import json
from pathlib import Path

from shop import products

from bench.fake_engine import FakeEngineSpec


def commits(shop, table):
    """Return the actions of each commit of a table."""
    place = shop.tables.describe(table)["location"].removeprefix("file:")
    logs = sorted(Path(place, "_delta_log").glob("*.json"))
    return [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]


def written(commit):
    """Return the bytes of rows and deletion vectors of a commit; the change feed is not counted."""
    added = [action["add"] for action in commit if "add" in action]
    files = sum(add["size"] for add in added if add["dataChange"] and not is_marked(add, commit))
    vectors = (add.get("deletionVector") or {} for add in added)
    return files + sum(vector.get("sizeInBytes", 0) for vector in vectors)


def is_marked(add, commit):
    """Return whether a file was there before, and has rows that are marked as gone."""
    removed = {action["remove"]["path"] for action in commit if "remove" in action}
    return add["path"] in removed


def test_a_merge_writes_the_rows_that_changed_and_lineage_has_statistics(bare_shop):
    shop = bare_shop  # the layout counts when a table is made
    config = {"table_layout": {"deletion_vectors": "always"}, "missing_products": "delete"}
    table = products(2_000)
    shop.write(table)
    # More than Delta has statistics of by itself.
    spec = FakeEngineSpec(attributes={f"attribute_{n}": ("red", "green") for n in range(20)})
    shop.refresh(spec=spec, config=config)
    whole = sum(map(written, commits(shop, "product_attributes")))
    table.loc[:39, "title"] = "another shirt"
    shop.write(table.iloc[:-40])

    shop.refresh(spec=spec, config=config)

    merges = [c for c in commits(shop, "product_attributes") if operation(c) == "MERGE"]
    assert len(merges) == 2  # the deletions are in it
    assert written(merges[1]) <= 0.2 * whole
    found = shop.table("product_attributes")
    assert len(found) == 1_960 and found["product_id"].is_unique
    assert list(shop.tables.describe("product_attributes")["clusteringColumns"]) == ["product_id"]
    added = [action["add"] for action in merges[0] if "add" in action]
    known = json.loads(added[-1]["stats"])["minValues"]
    assert {"product_id", "content_hash", "run_id", "model_version", "run_date"} <= known.keys()


def operation(commit):
    return next(action["commitInfo"]["operation"] for action in commit if "commitInfo" in action)
