"""The main job over texts that its Java has no room for: it says so, and what to give it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_lakehouse import JOB, Lakehouse

from demo.catalog import write_demo_catalog

pytestmark = [pytest.mark.spark, pytest.mark.long]

TEXT_BYTES = 120_000_000


def test_a_job_whose_java_runs_out_of_memory_says_what_to_give_it(tmp_path):
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=12, faults=False)
    rows = pq.read_table(shop / "products.parquet").to_pylist()
    for row in rows[:4]:
        row["description"] = "red shirt " * (TEXT_BYTES // 10)
    pq.write_table(pa.Table.from_pylist(rows), shop / "products.parquet")
    job = (JOB, "--catalog", shop, "--database", "shop")

    ended = Lakehouse(tmp_path).submit("--driver-memory", "600m", *job)

    assert ended.code == 52
    said = [line for line in ended.errors.splitlines() if line.startswith("error: ")]
    assert said == [
        "error: Java ran out of memory. Give it more, as in: spark-submit --driver-memory 4g"
    ]
