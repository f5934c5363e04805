"""The session: its metastore, its settings, its log, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from own_lakehouse import Lakehouse

from enrich.errors import ConfigError, MetastoreBusy, redact
from enrich.spark import session
from enrich.spark.session import (
    escape_pattern,
    has_folder,
    open_session,
    refuse_unusable_metastore,
    session_settings,
    tune_for_table_size,
)
from jobs.set_up import TEMPLATES

HOLD_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


# The embedded metastore


@pytest.fixture
def metastore(tmp_path):
    folder = tmp_path / "größe ш" / "metastore"
    folder.mkdir(parents=True)
    (folder / "dbex.lck").write_bytes(b"lock")
    note_origin(folder, folder)
    return folder


def note_origin(metastore, made_in):
    """Write down where a metastore was made, as Derby does."""
    noted = str(made_in).replace("ш", "\\u0448")
    (metastore / "service.properties").write_text(f"#{noted}\n# *** do NOT edit\n", "latin-1")


def test_a_metastore_held_by_another_process_names_it_in_one_line(metastore):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(metastore / "dbex.lck"), "jobs/other_job.py --x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout and holder.stdout.readline()
        with pytest.raises(MetastoreBusy) as refused:
            refuse_unusable_metastore(metastore, None)
        holder.communicate(b"")
    message = str(refused.value)
    assert f"process {holder.pid}" in message and "other_job.py" in message
    assert "\n" not in message


def test_a_metastore_where_it_was_made_is_taken(metastore):
    link = metastore.parent.with_name("link")
    link.symlink_to(metastore.parent)
    for folder in (metastore, link / "metastore", metastore.parent / "not there yet"):
        refuse_unusable_metastore(folder, f"file:{metastore.parent}/warehouse")


def test_a_metastore_that_was_moved_with_its_tables_is_refused(metastore):
    note_origin(metastore, Path("/the/original/ш/metastore"))
    with pytest.raises(ConfigError, match="was moved or copied from /the/original/ш/metastore"):
        refuse_unusable_metastore(metastore, str(metastore.parent / "warehouse"))
    # Somebody has chosen where the tables are.
    refuse_unusable_metastore(metastore, "s3a://lake/warehouse")


def test_a_metastore_that_this_user_may_not_write_to_is_refused(metastore, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != metastore.parent)
    with pytest.raises(ConfigError, match=f"may not write to {metastore.parent}"):
        refuse_unusable_metastore(metastore.parent / "new", None)
    refuse_unusable_metastore(metastore, str(metastore.parent / "warehouse"))


def test_a_metastore_that_was_cut_off_while_being_made_is_removed(metastore):
    (metastore / "service.properties").unlink()
    (metastore / "seg0").mkdir()
    with pytest.raises(MetastoreBusy, match="being made by another process"):
        refuse_unusable_metastore(metastore, None)
    os.utime(metastore / "dbex.lck", (0, 0))
    refuse_unusable_metastore(metastore, None)
    assert not metastore.exists()


# How a job ends and speaks


def test_ctrl_c_ends_a_job_in_one_line():
    program = """
import os, signal, time
from enrich.spark.session import exit_on_interrupt
exit_on_interrupt()
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
def test_a_session_that_is_opened_ends_so(spark):
    before = signal.getsignal(signal.SIGINT)
    try:
        open_session("interrupted")
        handler = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "exit_on_interrupt" in getattr(handler, "__qualname__", "")


# Settings and folders


@pytest.mark.parametrize(
    ("named", "given", "wants_own"),
    [
        ((), {}, True),
        (("log4j2.properties",), {"SPARK_HOME": "pyspark"}, True),  # as in the image
        (("spark-defaults.conf",), {"SPARK_HOME": "pyspark"}, False),
        (("spark-defaults.conf",), {}, True),  # the checkout's, and its tables are elsewhere
        ((), {"SPARK_HOME": "another"}, False),
        ((), {"SPARK_CONF_DIR": "another"}, False),
    ],
)
def test_spark_gets_settings_for_one_machine_unless_somebody_has_set_it_up(
    monkeypatch, tmp_path, named, given, wants_own
):
    conf = tmp_path / "pyspark" / "conf"
    conf.mkdir(parents=True)
    for name in named:
        (conf / name).touch()
    paths = {name: str(tmp_path / folder) for name, folder in given.items()}
    base = {"JAVA_HOME": "/java", "HOME": "/", "CATALOG_ENRICH_HOME": str(tmp_path)}
    monkeypatch.setattr(os, "environ", base | paths)
    monkeypatch.setattr(session, "pyspark", SimpleNamespace(__file__=str(conf.parent / "x.py")))
    monkeypatch.setattr(session.atexit, "register", lambda _: None)
    session._prepare_start()
    own = tmp_path / "lakehouse" / "spark"
    expected = str(own) if wants_own else paths.get("SPARK_CONF_DIR")
    assert os.environ.get("SPARK_CONF_DIR") == expected
    if wants_own:
        assert "DeltaSparkSessionExtension" in (own / "spark-defaults.conf").read_text()


@pytest.mark.spark
def test_settings_for_small_tables_go_again_where_one_is_large(spark, monkeypatch):
    names = "spark.sql.autoBroadcastJoinThreshold", "spark.sql.codegen.maxFields"
    monkeypatch.setattr(session, "_FOR_SMALL_TABLES", dict(zip(names, "37", strict=True)))
    before = [spark.conf.get(name) for name in names]
    small, large = spark.range(1_000), spark.range(10_000_000)
    tune_for_table_size(spark, small)
    assert [spark.conf.get(name) for name in names] == ["3", "7"]
    tune_for_table_size(spark, small, large)
    assert [spark.conf.get(name) for name in names] == before


@pytest.mark.spark
def test_settings_are_as_before_after_an_error(spark):
    names = "spark.sql.shuffle.partitions", "spark.sql.never.heard.of"
    before = [spark.conf.get(name, None) for name in names]
    with pytest.raises(KeyError), session_settings(spark, dict.fromkeys(names, "9")):
        assert [spark.conf.get(name) for name in names] == ["9", "9"]
        raise KeyError
    assert [spark.conf.get(name, None) for name in names] == before


@pytest.mark.spark
def test_folders_of_any_name_are_found(spark, tmp_path):
    folder = tmp_path / "größe [40] {a,b} 100 % *"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    assert has_folder(spark, f"file://{folder}") and not has_folder(spark, f"file://{folder}/a.txt")
    assert not has_folder(spark, f"file://{folder}/a.txt/b")
    assert spark.read.text(f"file://{escape_pattern(str(folder))}").count() == 1


# Java's log


SAID = [
    "JDBC url = jdbc:mysql://hive:hunter2@db:3306/metastore",
    "cannot list s3a://AKIA:hun/ter2@bucket/x: no such key",
    "GET https://shop.example/a?sv=1&sig=a%2Bb&x=2 failed",
    "GET https://tokentoken@shop.example/a",
    "fs.azure.account.key.me.dfs.core.windows.net=hunter2==",
    "jdbc:postgresql://db/x?user=me&password=hunter2",
    "jdbc:postgresql://me@corp.com:hunter2@db/x",
    "fs.s3a.secret.key = hunter2, AccountKey=hunter2;x",
    '{"pwd": "hunter2", "credential": "hunter2"}',
    "hdfs://namenode:8020/2026@summer is not there",
    "3 tokens = 2, abfss://container@account.dfs.core.windows.net/images",
]


def write(spark, pattern, message):
    """Return the line that Log4j makes of a warning."""
    log4j: Any = spark.sparkContext._jvm.org.apache.logging.log4j
    said = log4j.message.SimpleMessage(message)
    event = log4j.core.impl.Log4jLogEvent.newBuilder().setMessage(said)
    event = event.setLevel(log4j.Level.WARN).setLoggerName("org.Hive").build()
    layout = log4j.core.layout.PatternLayout.newBuilder().withPattern(pattern).build()
    return layout.toSerializable(event)


@pytest.fixture(scope="module")
def patterns(spark):
    """The patterns of both kinds of lines, as Java reads them."""
    java: Any = spark.sparkContext._jvm.java
    settings = java.util.Properties()
    settings.load(java.io.FileInputStream(str(TEMPLATES / "log4j2.properties")))
    found = {}
    for kind in ("console", "json"):
        found[kind] = settings.getProperty(f"appender.{kind}.layout.pattern")
        for name in ("login", "query", "named"):
            hidden = settings.getProperty(f"property.{name}")
            found[kind] = found[kind].replace(f"${{{name}}}", hidden)
    return found


@pytest.mark.spark
@pytest.mark.parametrize("message", SAID)
def test_java_hides_what_the_job_hides(spark, patterns, message):
    in_json = json.loads(write(spark, patterns["json"], message))
    assert (in_json["level"], in_json["logger"]) == ("warn", "org.Hive")
    assert (in_json["message"], in_json["exception"]) == (redact(message), "")
    line = write(spark, patterns["console"], message)
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARN Hive: (.*)\n", line)[1] == redact(message)


A_JOB = """
import time
from enrich.logs import LogFormat, start_logging
from enrich.spark.console import print_json_line
from enrich.spark.session import open_session
start_logging(LogFormat.JSON)
spark = open_session("a_job")
spark.sparkContext.parallelize([2], 1).foreach(time.sleep)
java = spark.sparkContext._jvm
java.org.apache.logging.log4j.LogManager.getLogger("org.Hive").warn('a "quoted" password=hunter2')
print_json_line({"outcome": "published"})
"""


@pytest.mark.spark
def test_a_log_in_json_lines_is_so_in_java_too_and_has_no_progress_bar(tmp_path):
    job = tmp_path / "a_job.py"
    job.write_text(A_JOB)
    ended = Lakehouse(tmp_path).submit("--conf", "spark.ui.showConsoleProgress=true", job)
    assert json.loads(ended.output.splitlines()[-1]) == {"outcome": "published"}
    assert "[Stage 0:" not in ended.output + ended.errors
    (line,) = [json.loads(one) for one in ended.errors.splitlines() if "Hive" in one]
    assert line["message"] == 'a "quoted" password=***' and line["logger"] == "org.Hive"
