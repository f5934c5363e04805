"""The embedded metastore and a real second process: a job stops at once and says why."""

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from own_lakehouse import Lakehouse, in_venv

pytestmark = [pytest.mark.spark, pytest.mark.long]

ROOT = Path(__file__).parents[2]
JOB = (ROOT / "jobs" / "rollback.py", "--run-id", "any", "--reason", "none")


@contextmanager
def holding(home):
    """Starts a spark-sql and yields its id once it holds the metastore of `home`; kills it then."""
    holder = subprocess.Popen(
        Lakehouse(home).command("spark-sql"),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home,
        env=in_venv(),
    )
    try:
        assert holder.stdin
        holder.stdin.write("SHOW DATABASES;\n")
        holder.stdin.flush()
        end = time.monotonic() + 120
        while not (home / "metastore" / "dbex.lck").exists():
            assert holder.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        yield holder.pid
    finally:
        holder.kill()
        holder.communicate()


def test_job_beside_spark_sql_stops_at_once_and_names_it(tmp_path):
    with holding(tmp_path) as holder:
        ended = Lakehouse(tmp_path).submit(*JOB, patience_s=120)

    said = ended.output + ended.errors
    assert ended.code == 1
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert f"is in use by process {holder}" in lines[0]
    assert "(spark-sql)" in lines[0]
    assert "\tat " not in said
