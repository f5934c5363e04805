"""The metastore on PostgreSQL: two jobs and a spark-sql session side by side, for real."""

import contextlib
import json
import os
import queue
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from deltalake import DeltaTable
from own_lakehouse import JOB, in_venv

from demo.catalog import write_demo_catalog
from enrich.spark.session import ADDRESS

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "jobs" / "conf" / "shared_metastore.conf"
# As docs/metastore.md has Hive's tables made, once.
CREATION = (
    *("--conf", "spark.hadoop.datanucleus.schema.autoCreateAll=true"),
    *("--conf", "spark.hadoop.datanucleus.autoStartMechanism=Classes"),
    *("-e", "SHOW DATABASES"),
)
DRIVER = Path("/usr/share/java/postgresql.jar")
# PostgreSQL refuses to run as root; Debian's package makes this user.
SERVER_USER = "postgres" if os.geteuid() == 0 else None


PATIENCE_S = 240


@dataclass
class Metastore:
    """A PostgreSQL of this test's own, and the lakehouse that it names the tables of."""

    home: Path
    address: str
    password: str
    server: Callable[..., str]

    def ask(self, statement, database="metastore"):
        """Returns the lines of the server's answer to its superuser."""
        return self.server("psql", "-d", database, "-Atqc", statement).splitlines()

    @contextlib.contextmanager
    def down(self):
        """Stops the server at once, as a crash does, and starts it again."""
        self.server("pg_ctl", "-m", "immediate", "stop")
        try:
            yield
        finally:
            self.server("pg_ctl", "-w", "start")

    def command(self, program, *flags):
        """Returns spark-submit or spark-sql with the settings of docs/metastore.md."""
        settings = ["--load-spark-defaults", "--properties-file", str(SETTINGS)]
        for name, value in {
            "spark.sql.warehouse.dir": self.home / "warehouse",
            "spark.master": "local[1]",
            "spark.ui.showConsoleProgress": "false",
        }.items():
            settings += ["--conf", f"{name}={value}"]
        return [program, *settings, *map(str, flags)]

    def start(self, *command, stdout=subprocess.PIPE):
        """Starts a command with the metastore's address and password in its environment."""
        environment = in_venv(
            METASTORE_ADDRESS=self.address,
            METASTORE_USER="enrich",
            METASTORE_PASSWORD=self.password,
        )
        return subprocess.Popen(
            command,
            text=True,
            env=environment,
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command):
        """Returns a command's exit code and output; one that takes too long is killed."""
        with self.start(*command) as started:
            try:
                output = started.communicate(timeout=PATIENCE_S)[0]
            finally:
                started.kill()
        return started.returncode, output


def find_server():
    """Returns the folder of initdb and pg_ctl."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), shutil.which("initdb")]
    if not found[0] or not DRIVER.exists():
        pytest.skip(
            "POSTGRESQL ABSENT, so this claim is NOT tested: apt install postgresql "
            "libpostgresql-jdbc-java"
        )
    return Path(found[0]).resolve().parent


@pytest.fixture(scope="module")
def metastore(tmp_path_factory):
    programs, home = find_server(), tmp_path_factory.mktemp("shared")
    password = secrets.token_hex(12)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as stack:
        # The server's user must get in; pytest's folders are their owner's only.
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metastore-")))
        if SERVER_USER:
            shutil.chown(data, SERVER_USER)

        options = f"-h 127.0.0.1 -p {port} -k {data} -c fsync=off -c logging_collector=off"
        always: dict[str, tuple[object, ...]] = {
            "initdb": ("-D", data / "db"),
            "pg_ctl": ("-D", data / "db", "-l", data / "log", "-o", options),
            "psql": ("-h", data, "-p", port),
        }

        def run(program, *flags):
            # Into a file: a server that is started keeps what it was given open.
            with (data / "said").open("w+") as said:
                subprocess.run(
                    [programs / program, *map(str, (*always[program], *flags))],
                    check=True,
                    user=SERVER_USER,
                    cwd=data,
                    stdout=said,
                    timeout=60,
                )
                said.seek(0)
                return said.read()

        run("initdb", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        (data / "db" / "pg_hba.conf").write_text(
            "local all all trust\nhost all enrich 127.0.0.1/32 scram-sha-256\n"
        )
        # Before it is started: a start that fails may leave a server, too.
        stack.callback(run, "pg_ctl", "-m", "immediate", "stop")
        run("pg_ctl", "-w", "start")
        metastore = Metastore(home, f"127.0.0.1:{port}/metastore", password, run)
        metastore.ask(f"CREATE ROLE enrich LOGIN PASSWORD '{password}'", "postgres")
        metastore.ask("CREATE DATABASE metastore OWNER enrich", "postgres")
        code, output = metastore.run(*metastore.command("spark-sql", *CREATION))
        assert code == 0 and "default" in output.splitlines(), output
        yield metastore


class SqlSession:
    """A spark-sql that is asked one statement after the other, and stays open."""

    def __init__(self, process):
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line)
            self._lines.put(line.strip())

    def ask(self, statement, patience_s=120):
        """Returns the lines of an answer."""
        assert self.process.stdin
        self._asked += 1
        end = f"end of answer {self._asked}"
        self.process.stdin.write(
            f"{statement};\nSELECT concat('end of ', 'answer {self._asked}');\n"
        )
        self.process.stdin.flush()
        answer: list[str] = []
        while (line := self._lines.get(timeout=patience_s)) != end:
            answer.append(line)
        return answer

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def session(metastore):
    session = SqlSession(metastore.start(*metastore.command("spark-sql")))
    yield session
    session.close()


@pytest.mark.long
def test_two_jobs_and_a_session_work_side_by_side_and_the_password_stays_secret(
    metastore, session, tmp_path
):
    write_demo_catalog(tmp_path / "shop", products=40)
    session.ask("CREATE DATABASE shop")
    (tmp_path / "settings.yaml").write_text(f"catalog: {tmp_path / 'shop'}\ndatabase: shop\n")
    flags = ["--config", tmp_path / "settings.yaml"]
    job = metastore.command("spark-submit", JOB, *flags)

    logs = [tmp_path / "monday.log", tmp_path / "tuesday.log"]
    days = ("2026-11-23", "2026-11-24")
    seen, commands, end = [], set(), monotonic() + PATIENCE_S
    with ExitStack() as stack:
        jobs = []
        for day, log in zip(days, logs, strict=True):
            output = stack.enter_context(log.open("w"))
            jobs.append(metastore.start(*job, "--run-date", day, stdout=output))
            stack.callback(jobs[-1].wait)
            stack.callback(jobs[-1].kill)
        while any(job.poll() is None for job in jobs) and monotonic() < end:
            are_both_alive = all(job.poll() is None for job in jobs)
            answer = session.ask("SHOW TABLES IN shop")
            seen += [answer] if are_both_alive else []
            commands |= set(list_command_lines())
    ended = [log.read_text() for log in logs]

    assert [job.returncode for job in jobs] == [0, 0], "\n".join(ended)
    assert len(seen) > 3
    summaries = [json.loads(output.strip().splitlines()[-1]) for output in ended]
    rows = DeltaTable(str(metastore.home / "warehouse/shop.db/product_attributes")).to_pandas()
    assert rows["product_id"].is_unique
    assert len(rows) == max(summary["counts"]["published"] for summary in summaries) > 30
    counted = session.ask("SELECT count(*), count(DISTINCT run_id) FROM shop.enrichment_runs")
    assert "2\t2" in counted
    session.ask("SET")
    session.ask("SET spark.hadoop.javax.jdo.option.ConnectionPassword")
    said = [*session.said, *ended, *commands]
    assert not [text for text in said if metastore.password in text]


def list_command_lines():
    """Yields what `ps` shows to every user of the machine."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            yield " ".join(process.cmdline())


@pytest.mark.long
def test_session_outlasts_a_restart_of_the_server(metastore, session):
    session.ask("CREATE DATABASE lasting")
    session.ask("CREATE TABLE lasting.numbers USING DELTA AS SELECT 7 AS number")
    with ThreadPoolExecutor(1) as asking:
        with metastore.down():
            answer = asking.submit(session.ask, "SELECT number FROM lasting.numbers")
            # Hive asks at once, and not of a server that is up again.
            sleep(3)
            assert not answer.done(), answer.result()
        assert "7" in answer.result()


@pytest.mark.long
def test_run_that_has_lost_its_metastore_says_so_and_goes_on_when_it_is_repeated(
    metastore, tmp_path
):
    write_demo_catalog(tmp_path / "shop", products=40)
    (tmp_path / "settings.yaml").write_text(f"catalog: {tmp_path / 'shop'}\ndatabase: lost\n")
    job = metastore.command("spark-submit", JOB, "--config", tmp_path / "settings.yaml")
    log = tmp_path / "run.log"
    with ExitStack() as stack:
        run = metastore.start(*job, stdout=stack.enter_context(log.open("w")))
        stack.callback(run.wait)
        stack.callback(run.kill)
        end = monotonic() + PATIENCE_S
        while "inference ..." not in log.read_text():
            assert run.poll() is None and monotonic() < end, log.read_text()
            sleep(0.1)
        with metastore.down():
            code = run.wait(PATIENCE_S)
    said = log.read_text()
    assert code == 1
    assert len(list_errors(said)) == 1, said
    assert "does not answer" in said
    assert "Traceback" not in said

    code, output = metastore.run(*job)
    assert code == 0, output
    assert json.loads(output.splitlines()[-1])["outcome"] == "published"


def test_an_address_with_a_password_is_refused_without_repeating_it(metastore):
    address = f"spark.hadoop.{ADDRESS}=jdbc:postgresql://{metastore.address}?password=hush"
    job = metastore.command("spark-submit", "--conf", address, ROOT / "jobs" / "rollback.py")
    code, output = metastore.run(*job, "--run-id", "x", "--reason", "y")
    assert code == 2
    assert "ConnectionURL holds a password" in output and "hush" not in output


def list_errors(output):
    return [line for line in output.splitlines() if line.startswith("error: ")]
