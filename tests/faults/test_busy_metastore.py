"""The embedded metastore and real second processes: they stop, and a job says at once why."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_drill import in_full
from own_lakehouse import Lakehouse, in_venv

pytestmark = [pytest.mark.spark, in_full]

ROOT = Path(__file__).parents[2]
JOB = (ROOT / "jobs" / "rollback.py", "--run-id", "any", "--reason", "none")


def start(home: Path, program: str, *flags: object) -> subprocess.Popen[str]:
    """Starts spark-sql or spark-submit with the metastore of `home`."""
    return subprocess.Popen(
        Lakehouse(home).command(program, *flags),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home,
        env=in_venv(),
    )


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A spark-sql that holds the metastore until it is told to end."""
    holder = start(tmp_path, "spark-sql")
    assert holder.stdin
    holder.stdin.write("SHOW DATABASES;\n")
    holder.stdin.flush()
    end = time.monotonic() + 120
    while not (tmp_path / "metastore" / "dbex.lck").exists():
        assert holder.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    yield holder
    holder.kill()
    holder.communicate()


def test_job_beside_spark_sql_stops_at_once_and_names_it(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    second = start(tmp_path, "spark-submit", *JOB)
    output = second.communicate(timeout=60)[0]

    assert second.returncode == 1
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, output
    assert f"is in use by process {holder.pid}" in lines[0]
    assert "(spark-sql)" in lines[0]
    assert "\tat " not in output


def test_metastore_of_a_process_that_was_killed_while_making_it_is_made_anew(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    holder.communicate()
    assert not (tmp_path / "metastore" / "service.properties").exists()

    second = start(tmp_path, "spark-submit", *JOB)
    output = second.communicate(timeout=120)[0]

    assert "there is no table enriched.product_attributes" in output
    assert second.returncode == 2
