"""Spark session: opening, temporary settings, and calls that PySpark lacks.

No other module calls Java. For a session of Spark Connect, which has no Java, `connect` answers.
"""

import atexit
import fcntl
import logging
import math
import os
import pwd
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast
from urllib.parse import unquote

import psutil
import pyspark
from py4j.protocol import Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import DataFrame, SparkSession, is_remote
from pyspark.sql.catalog import Database
from pyspark.util import inheritable_thread_target

from enrich.config import HOME, GpuExecutors, home
from enrich.errors import ConfigError, MetastoreBusy, NoAnswer, first_line, refuse_secrets
from enrich.images.locations import local_path
from enrich.logs import is_json

log = logging.getLogger(__name__)

Value = TypeVar("Value")

ADDRESS = "javax.jdo.option.ConnectionURL"
_DERBY = re.compile(r"jdbc:derby:(?:directory:)?;?(?:databaseName=)?([^;]+)")
_TEMPLATES = Path(__file__).parents[2] / "jobs" / "conf" / "spark"
_DELTA = "io.delta:delta-spark_4.1_2.13:4.4.0"
# Spark stops itself after asking the masters of a cluster for a minute.
_STOPPED = re.compile(r"stopped SparkContext|SparkContext (was|has been) shut ?down")
_DESCRIPTION, _GROUP = "spark.job.description", "spark.jobGroup.id"
# Derby makes a metastore in a few seconds.
_IN_THE_MAKING_S = 30
# The variable that asks for a session of Spark Connect.
REMOTE = "SPARK_REMOTE"
# A megabyte of a product table is some thousand products, whose images take seconds to inspect.
_BYTES_PER_TASK = 1 << 20
_TASKS_OF_SMALL_TABLES = 16
_PARTITIONS = "spark.sql.shuffle.partitions"
_FOR_SMALL_TABLES = {
    # Adaptive execution runs a job for each shuffle and then plans again.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.databricks.delta.snapshotPartitions": "1",
}


def open_session(app_name: str) -> SparkSession:
    """Return a session with tables by name.

    spark-submit has configured the session, or PySpark's own settings do, as in `catalog-enrich`.
    If SPARK_REMOTE is set, the session is one of Spark Connect.

    Raises:
        MetastoreBusy: Another process holds the embedded metastore.
        ConfigError: The embedded metastore was moved or copied, the address of a shared one holds
            a password, or Java is missing.
        NoAnswer: The cluster's master does not answer.
        AnalysisException: A shared metastore cannot be opened; `explain_failure` says why.
    """
    builder = SparkSession.builder.appName(app_name)
    if REMOTE in os.environ:
        spark = cast(SparkSession, _remote().open_remote(builder, _prepare_start))
        exit_on_interrupt()
        return spark
    if not _is_submitted():
        _prepare_start()
    builder = builder.enableHiveSupport()
    # Spark's progress bar would overwrite the JSON line. The job logs its own progress.
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    exit_on_interrupt()
    spark = _start(builder)
    # For jobs before the run has an id.
    spark.sparkContext.setLocalProperty(_DESCRIPTION, app_name)
    # Again, because Spark's context has a handler of its own.
    exit_on_interrupt()
    if is_json():
        _log_java_as_json(spark)
    address = _hadoop(spark).get(ADDRESS) or ""
    if address.startswith("jdbc:") and not address.startswith("jdbc:derby:"):
        refuse_secrets(address, ADDRESS)
        with java_log_off(spark):
            spark.catalog.databaseExists("default")
        return spark
    if embedded := _DERBY.match(address):
        refuse_unusable_metastore(Path(embedded[1]), spark.conf.get("spark.sql.warehouse.dir"))
    # Opening the metastore takes seconds. Meanwhile the job can open its source.
    Thread(target=_open_metastore, args=(spark,)).start()
    return spark


def _remote() -> Any:
    """Return the module for remote sessions, which other runs need not load."""
    from enrich.spark import connect

    return connect


def _start(builder: SparkSession.Builder) -> SparkSession:
    try:
        if not _has_user_name():
            _log_in_without_name()
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise ConfigError(
            "Spark has not started, for the reason logged above: expected Java 17 or 21 "
            "(JAVA_HOME), and the network where Delta's jars are not there yet."
        ) from None
    except Py4JJavaError as error:
        if not _STOPPED.search(first_line(error)):
            raise
        master = SparkConf().get("spark.master", "")
        # From None: Java's pages would hide the message.
        raise NoAnswer(
            f"Spark's master at {master} does not answer, or takes no job: wait and repeat. A "
            "mistyped address looks the same (--master, spark.master)"
        ) from None


# Without spark-submit


def _is_submitted() -> bool:
    """Return whether spark-submit or another Java process started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ or SparkContext._gateway is not None


def _prepare_start() -> None:
    """Set the variables by which PySpark starts Java and workers in plain Python."""
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        raise ConfigError(
            "Java is missing: found neither JAVA_HOME nor java on PATH, expected Java 17 or 21. "
            "Install one."
        )
    atexit.register(_stop_java)
    # The default for workers is PATH's python3.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = Path(pyspark.__file__).parent
    if not _has_settings(spark):
        os.environ["SPARK_CONF_DIR"] = str(_write_settings(spark, home() / "lakehouse"))
    if not _has_user_name():
        # For a user without a name Java's home is "?", which Ivy refuses at each start.
        folder = os.environ.get("HOME") or tempfile.gettempdir()
        given = os.environ.get("SPARK_SUBMIT_OPTS", "")
        os.environ["SPARK_SUBMIT_OPTS"] = f'{given} -Duser.home="{folder}"'


def _has_settings(spark: Path) -> bool:
    """Return whether somebody has set up Spark; `spark` is PySpark's own folder."""
    given = os.environ.get("SPARK_HOME")
    is_another = given is not None and Path(given).resolve() != spark.resolve()
    if is_another or "SPARK_CONF_DIR" in os.environ:
        return True
    # The set-up of a checkout has filled in the checkout's folders, which are not those of HOME.
    is_meant = given is not None or not os.environ.get(HOME)
    return is_meant and (spark / "conf" / "spark-defaults.conf").exists()


def _stop_java() -> None:
    """End Java, and wait for its end: until then it holds the embedded metastore."""
    java = getattr(SparkContext._gateway, "proc", None)
    if java is not None:
        # Otherwise the accumulator server would print that it has lost Java.
        if (context := SparkContext._active_spark_context) is not None:
            with suppress(Exception):
                context.stop()
        java.stdin.close()
        java.wait()


def _write_settings(spark: Path, lakehouse: Path) -> Path:
    """Write Spark's settings for one machine into a lakehouse, and return the folder."""
    java = os.environ.get("JAVA_HOME", "")
    paths = {"lakehouse": lakehouse, "jars": spark / "jars", "venv": lakehouse, "java_home": java}
    folder = lakehouse / "spark"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for template in _TEMPLATES.iterdir():
            text = template.read_text()
            for name, path in paths.items():
                text = text.replace(f"{{{name}}}", str(path))
            if template.suffix == ".conf" and not any(spark.glob("jars/delta-spark_*.jar")):
                text += f"spark.jars.packages {_DELTA}\nspark.jars.ivy {lakehouse}/ivy\n"
            file = folder / template.name
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
    except OSError as error:
        raise ConfigError(
            f"{lakehouse} cannot hold local tables: {error.strerror}. Set {HOME} to a folder that "
            "can, or SPARK_CONF_DIR to that of your Spark's settings."
        ) from error
    return folder


def _has_user_name() -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(os.getuid()))
    return False


def _log_in_without_name() -> None:
    """Log this user in at Hadoop, which fails for a user without a name."""
    SparkContext._ensure_initialized()
    jvm: Any = SparkContext._jvm
    users = jvm.org.apache.hadoop.security.UserGroupInformation
    users.setLoginUser(users.createRemoteUser(os.environ.get("USER") or str(os.getuid())))


def exit_on_interrupt() -> None:
    """Make Ctrl-C end this process at once, with one line and exit code 130.

    PySpark's own handler asks Java to cancel its jobs, and prints several tracebacks if Java is
    interrupted too. The tables are whole, as after a kill.
    """

    def end(*_: object) -> None:
        sys.stderr.write("\ninterrupted: what was written is whole; repeat the command\n")
        sys.stderr.flush()
        os._exit(130)

    signal.signal(signal.SIGINT, end)


def _open_metastore(spark: SparkSession) -> None:
    # Errors are ignored: the first query of a table meets them again.
    with suppress(Exception):
        spark.catalog.databaseExists("default")


def refuse_unusable_metastore(folder: Path, warehouse: str | None) -> None:
    """Refuse an embedded metastore that this process cannot use.

    Derby's own error is pages of Java after a minute.

    Raises:
        MetastoreBusy: Another process holds the metastore.
        ConfigError: The metastore was moved or copied, and names tables at its former place; or
            this user may not write to it.
    """
    place = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(place, os.W_OK):
        raise ConfigError(
            f"the metastore in {folder} cannot be opened: this user may not write to {place}. Set "
            f"{HOME} to a folder for local tables (docs/operations.md)"
        )
    lock = folder / "dbex.lck"
    if (holder := _lock_holder(lock)) is not None:
        raise MetastoreBusy(
            f"the metastore in {folder} is in use by {_describe(holder)}. The embedded metastore "
            "admits one process at a time: wait for that one to end, or set up a shared metastore "
            "(docs/metastore.md)"
        )
    properties = folder / "service.properties"
    if lock.exists() and not properties.exists():
        if time.time() - lock.stat().st_mtime < _IN_THE_MAKING_S:
            raise MetastoreBusy(
                f"the metastore in {folder} is being made by another process: wait for that one "
                "to end and repeat"
            )
        # A process was killed while it made the metastore. Derby refuses such a folder.
        log.warning("%s was cut off while it was being made, and is made anew", folder)
        shutil.rmtree(folder)
        return
    made_in = _read_origin(properties)
    tables = Path(local_path(warehouse or "")).resolve()
    # Tables that are not beside the metastore are where somebody has put them.
    if made_in not in (None, folder.resolve()) and tables.parent == folder.resolve().parent:
        raise ConfigError(
            f"the metastore in {folder} was moved or copied from {made_in}: its tables are those "
            f"beside the original. Move {folder} away, and the next run finds the output tables in "
            f"{tables} by their folders. Other tables, such as a product "
            "table that you read by name, need their names again: CREATE TABLE ... LOCATION"
        )


def _read_origin(properties: Path) -> Path | None:
    """Return the folder in which a Derby database was made, from its first line."""
    with suppress(OSError, IndexError):
        noted = properties.read_text("latin-1").splitlines()[0].removeprefix("#")
        spelled = re.sub(r"\\u([0-9A-F]{4})", lambda found: chr(int(found[1], 16)), noted)
        return Path(spelled).resolve()
    return None


def _lock_holder(lock_file: Path) -> int | None:
    """Return the process that holds Derby's exclusive lock, None if the lock is free."""
    # struct flock on Linux: type, whence, start, length, pid.
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    try:
        with lock_file.open("r+b") as file:
            answer = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, wanted))
    except OSError:
        return None  # no such database yet, or a file system without locks: Derby decides
    return None if answer[0] == fcntl.F_UNLCK else int(answer[4])


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())
    except psutil.Error:
        return f"process {pid}"
    script = re.search(r"\S+\.py\b.*", command)
    name = "spark-sql" if "SparkSQLCLIDriver" in command else process.name()
    return f"process {pid} ({script[0][:80] if script else name})"


# Settings


@contextmanager
def session_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Set Spark's settings inside the context."""
    before = {name: spark.conf.get(name, None) for name in settings}
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, earlier)


def tune_for_table_size(spark: SparkSession, *tables: DataFrame) -> None:
    """Interpret queries in few tasks if all tables are small, or restore the settings.

    For few rows Spark spends most of its time on generating and compiling Java for every query,
    and on the tasks of a shuffle. A table of unknown size is large.
    """
    if is_remote():
        return  # the server's settings stand
    tasks = max(map(tasks_for, tables), default=1)
    is_small = tasks <= _TASKS_OF_SMALL_TABLES
    set_up = submitted_settings(spark)
    for name, value in {**_FOR_SMALL_TABLES, _PARTITIONS: str(min(tasks, cores_of(spark)))}.items():
        if is_small:
            spark.conf.set(name, value)
        elif set_up.contains(name):
            spark.conf.set(name, str(set_up.get(name)))
        else:
            spark.conf.unset(name)


@contextmanager
def name_jobs(spark: SparkSession, description: str, group: str | None = None) -> Iterator[None]:
    """Describe all Spark jobs inside, for Spark's page and event log.

    In the event log, jobs of one `group` can be separated from others.
    """
    if is_remote():
        yield
        return
    context: Any = spark.sparkContext
    named = {_DESCRIPTION: description} | ({} if group is None else {_GROUP: group})
    before = {name: context.getLocalProperty(name) for name in named}
    for name, value in named.items():
        context.setLocalProperty(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            context.setLocalProperty(name, value)


def in_spark_thread(spark: SparkSession, function: Callable[[], None]) -> Callable[[], None]:
    """Wrap a function for a thread whose jobs inherit this one's description."""
    wrap: Any = inheritable_thread_target(spark)
    # Without a Java thread for each Python thread, PySpark returns the session itself.
    return wrap(function) if callable(wrap) else function


def count_tasks(spark: SparkSession) -> tuple[int, dict[tuple[int, int], int]]:
    """Return the number of running tasks, and failed tasks by active stage attempt."""
    if is_remote():
        return 0, {}
    tracker = spark.sparkContext.statusTracker()
    active, failed = 0, {}
    for stage in tracker.getActiveStageIds():
        if (info := tracker.getStageInfo(stage)) is not None:
            active += info.numActiveTasks
            failed[stage, info.currentAttemptId] = info.numFailedTasks
    return active, failed


def submitted_settings(spark: SparkSession) -> SparkConf:
    """Return the settings that the session was started with; of a remote one today's."""
    if is_remote():
        return cast(SparkConf, _remote().read_settings(spark))
    return spark.sparkContext.getConf()


# Sizes, times and counters


def size_in_bytes(table: DataFrame) -> int:
    """Return Spark's estimate of a table's size, without reading it.

    For a persisted table that was read, it is the size in memory.
    """
    if is_remote():
        return int(_remote().size_in_bytes(table))
    plan = table._jdf.queryExecution().withCachedData()
    return int(str(plan.stats().sizeInBytes()))


def tasks_for(table: DataFrame) -> int:
    """Return the number of tasks that a table's size is worth, 1 at least."""
    return max(1, math.ceil(size_in_bytes(table) / _BYTES_PER_TASK))


def count_partitions(table: DataFrame) -> int:
    """Return the number of a table's partitions, in Spark Connect of its files."""
    if is_remote():
        return len(table.inputFiles())
    return table.rdd.getNumPartitions()


def cores_of(spark: SparkSession) -> int:
    """Return the number of tasks that registered executors run at a time."""
    if is_remote():
        return int(_remote().count_cores(spark))
    return spark.sparkContext.defaultParallelism


def slots_of(spark: SparkSession, gpu_executors: GpuExecutors | None = None) -> int:
    """Return the number of encoding tasks that run at a time.

    If tasks need GPUs and the cores of an executor are known, GPUs count. With `gpu_executors`: all
    that dynamic allocation may start, those of one executor if it has no limit.
    """
    settings = submitted_settings(spark)
    if gpu_executors is not None:
        most = settings.get("spark.dynamicAllocation.maxExecutors") or "1"
        tasks = gpu_executors.gpus * gpu_executors.tasks_per_gpu
        return int(most) * min(tasks, gpu_executors.cores)
    slots = cores_of(spark) // int(settings.get("spark.task.cpus") or 1)
    share = float(settings.get("spark.task.resource.gpu.amount") or 0)
    cores = int(settings.get("spark.executor.cores") or 0)
    if share and cores:
        gpus = int(settings.get("spark.executor.resource.gpu.amount") or 1)
        tasks = gpus // int(share) if share >= 1 else gpus * int(1 / share)
        slots = min(slots, max(1, cores_of(spark) // cores) * tasks)
    return max(1, slots)


def is_on_one_machine(spark: SparkSession) -> bool:
    """Return whether tasks run in the driver's own process and its Python workers."""
    # With "local-cluster", tasks run in processes of their own.
    master = submitted_settings(spark).get("spark.master", "") or ""
    return re.match(r"local(\[|$)", master) is not None


def run_on_executors(
    spark: SparkSession, folder: str, token: str, question: Callable[[str], Value]
) -> tuple[list[Value], int]:
    """Return each executor's answer, and the number of executors. One Spark job.

    The driver writes the token to a file in `folder`. A task in each slot reads the file through
    Hadoop's file system and passes its text to the question, "" if the file is missing.
    """
    store, path = open_folder(spark, folder)
    file = open_folder(spark, f"{folder}/token")[1]
    stream = store.create(file)
    try:
        stream.write(token.encode())
        stream.close()
        # The same file for each slot, and a task for each file.
        files = [escape_pattern(f"{folder}/token")] * cores_of(spark)
        with session_settings(spark, {"spark.sql.files.maxPartitionBytes": "1"}):
            reader = spark.read.option("ignoreMissingFiles", True)
            read = reader.text(files, wholetext=True)

            def ask(rows: Iterable[Any]) -> Iterator[tuple[tuple[str, int], Value]]:
                # All Python workers of an executor have the same parent.
                place = os.uname().nodename, os.getppid()
                yield place, question("".join(row[0] for row in rows))

            answers = dict(read.rdd.mapPartitions(ask).collect())
    finally:
        store.delete(path, True)
    executors: Any = spark.sparkContext._jsc
    # The driver is counted too.
    return list(answers.values()), executors.sc().getExecutorMemoryStatus().size() - 1


def open_accumulator(
    spark: SparkSession, zero: Value, param: "AccumulatorParam[Value]"
) -> "Accumulator[Value]":
    """Return a counter that the tasks of all workers add to."""
    if is_remote():
        return cast("Accumulator[Value]", _remote().Uncounted(zero))
    return spark.sparkContext.accumulator(zero, param)


def application_of(spark: SparkSession) -> str:
    """Return the id of Spark's application, of a remote session the session's."""
    named: Any = spark
    return str(named.session_id if is_remote() else spark.sparkContext.applicationId)


def in_utc(value: Value) -> Value | datetime:
    """Return a time with its zone, any other value unchanged.

    Spark returns times in this machine's zone, without a zone. Arrow would take them for UTC, and
    Spark itself would read them an hour late after clocks have gone back.
    """
    return value.astimezone(UTC) if isinstance(value, datetime) else value


# File systems


def database_folder(database: Database) -> str:
    """Return a database's folder as a decoded path, "" if it has none."""
    return unquote(database.locationUri or "")


def escape_pattern(path: str) -> str:
    """Return a path with brackets and stars escaped, which Spark takes for a pattern."""
    return re.sub(r"[{}\[\]*?\\]", r"\\\g<0>", path)


def open_folder(spark: SparkSession, folder: str) -> tuple[Any, Any]:
    """Return Hadoop's file system of a folder, and its path there."""
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(folder)
    return path.getFileSystem(_hadoop(spark)), path


def has_folder(spark: SparkSession, path: str) -> bool:
    """Return whether a folder exists, in any store.

    A remote session sees folders with files only.
    """
    if is_remote():
        return bool(_remote().list_files(spark, escape_pattern(path)))
    store, folder = open_folder(spark, path)
    # HDFS raises for a path below a file, so the parent is checked first.
    return bool(store.isDirectory(folder.getParent()) and store.isDirectory(folder))


def list_folder(spark: SparkSession, folder: str) -> list[str]:
    """Return the names in a folder, none without one.

    A remote session sees files only.
    """
    if is_remote():
        return list(_remote().list_files(spark, escape_pattern(folder)))
    store, path = open_folder(spark, folder)
    found = store.listStatus(path) if store.exists(path) else []
    return [file.getPath().getName() for file in found]


def remove_folder(spark: SparkSession, folder: str) -> bool:
    """Remove a folder with all that it holds; return whether it was there."""
    if is_remote():
        return bool(_remote().remove(folder))
    store, path = open_folder(spark, folder)
    return bool(store.delete(path, True))


def _hadoop(spark: SparkSession) -> Any:
    return spark.sparkContext._jsc.hadoopConfiguration()


# Java's log


@contextmanager
def java_log_off(spark: SparkSession) -> Iterator[None]:
    """Keep Java's own report of a failure, which takes pages, off the console."""
    if is_remote():
        yield
        return
    jvm: Any = spark.sparkContext._jvm
    level = jvm.org.apache.logging.log4j.LogManager.getRootLogger().getLevel().toString()
    stop_java_log(spark)
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel(level)


def stop_java_log(spark: SparkSession) -> None:
    """End Java's log: its lines at shutdown would follow the job's last line."""
    if not is_remote():
        spark.sparkContext.setLogLevel("OFF")


def _log_java_as_json(spark: SparkSession) -> None:
    """Make this process's Java log JSON lines, as the job does, to standard error."""
    jvm: Any = spark.sparkContext._jvm
    jvm.java.lang.System.setProperty("enrich.log", "json")
    settings = jvm.java.net.URI((_TEMPLATES / "log4j2.properties").as_uri())
    jvm.org.apache.logging.log4j.core.config.Configurator.reconfigure(settings)
