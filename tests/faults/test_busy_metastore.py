"""The embedded metastore and real second processes: they stop, and a job says at once why."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from own_lakehouse import JOB as JOB_OF_A_NIGHT
from own_lakehouse import Lakehouse, in_venv

pytestmark = [pytest.mark.spark, pytest.mark.long]

ROOT = Path(__file__).parents[2]
JOB = (ROOT / "jobs" / "rollback.py", "--run-id", "any", "--reason", "none")
KILLS = 5


@contextmanager
def holding(home: Path) -> Iterator[int]:
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


def test_job_beside_spark_sql_stops_at_once_and_names_it(tmp_path: Path) -> None:
    with holding(tmp_path) as holder:
        ended = Lakehouse(tmp_path).submit(*JOB, patience_s=120)

    said = ended.output + ended.errors
    assert ended.code == 1
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert f"is in use by process {holder}" in lines[0]
    assert "(spark-sql)" in lines[0]
    assert "\tat " not in said


def test_a_copied_lakehouse_is_not_taken_for_the_original(tmp_path: Path) -> None:
    original, copy = (Lakehouse(tmp_path / name) for name in ("a shop", "a copy"))
    shop = tmp_path / "products.csv"
    shop.write_text("product_id,title,description,image_path\n1,red shirt,,\n")
    flags = (JOB_OF_A_NIGHT, "--catalog", shop, "--database", "shop")
    original.folder.mkdir()
    assert original.submit(*flags).code == 0
    shutil.copytree(original.folder, copy.folder)

    ended = copy.submit(*flags, "--full-refresh")
    assert ended.code == 2
    said = f"{copy.folder}/metastore was moved or copied from {original.folder}"
    assert said in ended.output.splitlines()[-1] and "Traceback" not in ended.output

    assert original.table("shop", "product_attributes").version() == 1
    (copy.folder / "metastore").rename(copy.folder / "metastore of the original")
    ended = copy.submit(*flags)
    assert ended.summary["outcome"] == "nothing_to_do", ended.output


def test_metastore_of_a_process_that_was_killed_while_making_it_is_made_anew(
    tmp_path: Path,
) -> None:
    home = kill_while_it_makes_its_metastore(tmp_path)
    ended = Lakehouse(home).submit(*JOB, patience_s=120)

    assert "enriched.product_attributes" in ended.output
    assert ended.code == 2


def kill_while_it_makes_its_metastore(folder: Path) -> Path:
    """Returns where a spark-sql was killed between its lock and the last file that it makes."""
    for kill in range(KILLS):
        home = folder / str(kill)
        home.mkdir()
        with holding(home):
            pass
        if not (home / "metastore" / "service.properties").exists():
            return home
    pytest.skip(f"KILLED TOO LATE {KILLS} times, so this claim is NOT tested: a busy machine?")
