"""The embedded metastore: who holds it is said at once and in one line."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from own_lakehouse import Lakehouse, in_venv
from pyspark.sql import SparkSession

from enrich.errors import ConfigError, MetastoreBusy, StorageFailed
from enrich.spark.metastore.embedded import refuse_moved_metastore, refuse_unusable_metastore
from enrich.spark.session import open_session

HOLD_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def metastore(tmp_path: Path) -> Path:
    folder = tmp_path / "metastore"
    folder.mkdir()
    (folder / "dbex.lck").write_bytes(b"lock")
    return folder


def address(folder: Path) -> str:
    return f"jdbc:derby:;databaseName={folder};create=true"


def test_metastore_held_by_another_process_names_it_in_one_line(metastore: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(metastore / "dbex.lck"), "jobs/other_job.py --x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout and holder.stdout.readline()
        with pytest.raises(MetastoreBusy) as refused:
            refuse_unusable_metastore(address(metastore))
        holder.communicate(b"")

    message = str(refused.value)
    assert f"process {holder.pid}" in message
    assert "other_job.py" in message
    assert "\n" not in message


def test_metastore_of_another_user_is_refused_with_its_folder(
    metastore: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To root, as whom tests may run, everything is writable.
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (metastore, os.W_OK))

    with pytest.raises(StorageFailed, match=f"opened: {metastore} may not be written by this user"):
        refuse_unusable_metastore(address(metastore))


def test_free_metastore_is_taken(metastore: Path) -> None:
    (metastore / "service.properties").touch()

    refuse_unusable_metastore(address(metastore))

    assert (metastore / "service.properties").exists()


def test_metastore_that_was_cut_off_while_being_made_is_removed(metastore: Path) -> None:
    (metastore / "seg0").mkdir()

    refuse_unusable_metastore(address(metastore))

    assert not metastore.exists()


def session_over(metastore: Path, tables_in: Path) -> Mock:
    """Returns a session whose warehouse is beside its metastore, which has its tables elsewhere."""
    spark = Mock()
    spark.sparkContext._jsc.hadoopConfiguration().get.return_value = address(metastore)
    spark.conf.get.return_value = str(metastore.parent / "warehouse")
    spark.catalog.getDatabase.return_value.locationUri = tables_in.as_uri()
    return spark


def test_a_metastore_that_is_where_it_was_made_is_asked_nothing(metastore: Path) -> None:
    link = metastore.parent.with_name("link")
    link.symlink_to(metastore.parent)
    for made_as in (metastore, link / "metastore"):
        (metastore / "service.properties").write_text(f"#{made_as}\n# *** do NOT edit\n")
        spark = session_over(metastore, Path("/nowhere/warehouse"))

        refuse_moved_metastore(spark)

        assert not spark.catalog.getDatabase.called


@pytest.mark.parametrize("said", ["#/the/original/metastore\n", ""])
def test_a_metastore_that_was_moved_is_asked_where_its_tables_are(
    metastore: Path, said: str
) -> None:
    (metastore / "service.properties").write_text(said)

    refuse_moved_metastore(session_over(metastore, metastore.parent / "warehouse"))
    with pytest.raises(ConfigError, match="was moved or copied from /the/original: its tables"):
        refuse_moved_metastore(session_over(metastore, Path("/the/original/warehouse")))


def test_folder_with_files_of_others_is_left_alone(metastore: Path) -> None:
    (metastore / "thesis.tex").touch()

    refuse_unusable_metastore(address(metastore))

    assert (metastore / "thesis.tex").exists()


@pytest.mark.parametrize(
    "url", ["", "jdbc:postgresql://db/metastore", "jdbc:derby:;databaseName=/nowhere;create=true"]
)
def test_other_and_new_metastores_are_left_alone(url: str) -> None:
    refuse_unusable_metastore(url)


def test_ctrl_c_ends_a_job_in_one_line() -> None:
    program = """
import os, signal, time
from enrich.spark.session import end_when_interrupted
end_when_interrupted()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
finally:
    print("still at work")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "\ninterrupted: what was written is whole; repeat the command\n"


@pytest.mark.spark
def test_a_session_that_is_opened_ends_so(spark: SparkSession) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        open_session("interrupted")
        handler = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "end_when_interrupted" in getattr(handler, "__qualname__", "")


A_JOB = """
import time
from enrich.spark.console import print_json_line
from enrich.spark.session import open_session
open_session("a_job").sparkContext.parallelize([2], 1).foreach(time.sleep)
print_json_line({"outcome": "published"})
"""


@pytest.mark.spark
def test_the_progress_bar_is_drawn_on_a_terminal_and_over_no_line_of_a_log(tmp_path: Path) -> None:
    job = tmp_path / "a_job.py"
    job.write_text(A_JOB)
    wanted = "spark.ui.showConsoleProgress=true"
    command = Lakehouse(tmp_path).command("spark-submit", "--conf", wanted, job)

    log = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=in_venv(), check=True
    ).stdout
    screen = errors_on_a_terminal(command)

    # Not by splitlines, to which the bar's carriage return ends a line.
    last = log.removesuffix(b"\n").rpartition(b"\n")[2]
    assert json.loads(last) == {"outcome": "published"}
    assert b"[Stage 0:" not in log
    assert b"[Stage 0:" in screen


def errors_on_a_terminal(command: Sequence[str]) -> bytes:
    """Returns what a terminal shows of a command's standard error."""
    screen, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=terminal, env=in_venv()):
        os.close(terminal)
        shown = b""
        # Linux says so when nobody holds the other end any more.
        with suppress(OSError):
            while part := os.read(screen, 1 << 16):
                shown += part
    os.close(screen)
    return shown
