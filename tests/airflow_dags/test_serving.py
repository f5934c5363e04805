"""jobs/serve_airflow.py without an Airflow: what it keeps, and what it does when a part dies."""

import configparser
import importlib.util
import json
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"core": "fernet_key", "api": "secret_key", "api_auth": "jwt_secret"}


@pytest.fixture
def serving() -> ModuleType:
    """The script by its path, as it is in no package."""
    file = ROOT / "jobs" / "serve_airflow.py"
    spec = importlib.util.spec_from_file_location("serve_airflow", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(serving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in place of the command `airflow`, which writes down how it was called."""
    called = tmp_path / "called.txt"
    script = tmp_path / "bin" / "airflow"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/bash\necho "$$ $@" >> {called}\n'
        f"pool={tmp_path}/pool\n"
        "case $1 in scheduler) sleep 1; exit 7;; db) ;;"
        " pools) [[ $2 == set ]] && touch $pool || [[ -e $pool ]];; *) exec sleep 300;; esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(serving, "BIN", script.parent)
    return called


def read(home: Path) -> configparser.RawConfigParser:
    configuration = configparser.RawConfigParser()
    configuration.read(home / "airflow.cfg")
    return configuration


def test_keys_and_password_survive_a_restart_and_a_new_port_does_not_get_lost(
    serving: ModuleType, commands: Path, tmp_path: Path
) -> None:
    password = serving.prepare_home(tmp_path, 8080)
    before = read(tmp_path)
    assert serving.prepare_home(tmp_path, 9090) == password
    after = read(tmp_path)
    for section, key in KEYS.items():
        assert len(after[section][key]) >= 32
        assert after[section][key] == before[section][key]
    assert after["api"]["port"] == "9090"
    assert ":9090/" in after["core"]["execution_api_server_url"]


def test_files_with_secrets_can_be_read_by_their_owner_only(
    serving: ModuleType, commands: Path, tmp_path: Path
) -> None:
    serving.prepare_home(tmp_path, 8080)
    for name in ("airflow.cfg", "passwords.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["airflow.cfg", "passwords.json"])
def test_a_start_that_cannot_write_loses_no_secret(
    serving: ModuleType, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    serving.write_private(file, "secret")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, limits[1]))
    try:
        with pytest.raises(serving.ServeError, match=f"{name} cannot be written: .*large"):
            serving.write_private(file, "another")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_text() == "secret"
    serving.write_private(file, "another")
    assert file.read_text() == "another"


def test_keys_that_cannot_be_read_are_not_replaced(serving: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").symlink_to("airflow.cfg")  # not even root can open this one
    with pytest.raises(OSError, match=r"symbolic links.*airflow\.cfg"):
        serving.write_configuration(tmp_path, 8080)
    assert (tmp_path / "airflow.cfg").is_symlink()


@pytest.mark.parametrize(
    ("name", "content", "lost"),
    [
        ("airflow.cfg", b"es_folder = /srv\n", "Variables"),
        ("airflow.cfg", b"\xff[core]\n", "Variables"),
        ("passwords.json", b"", "password"),
        ("passwords.json", b"[]", "password"),
    ],
)
def test_a_file_of_secrets_that_was_cut_off_is_named_and_kept(
    serving: ModuleType, commands: Path, tmp_path: Path, name: str, content: bytes, lost: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(serving.ServeError, match=rf"{name} is damaged.*remove it.*{lost}"):
        serving.prepare_home(tmp_path, 8080)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("given", [0, -1, 65_536, 99_999])
def test_a_number_that_is_no_port_is_refused_in_a_line(
    tmp_path: Path, given: int, serving: ModuleType
) -> None:
    with pytest.raises(serving.ServeError, match=f"{given} is no port; wanted: 1 to 65535"):
        serving.serve(tmp_path / "home", given)
    assert not (tmp_path / "home").exists()


def test_what_the_system_refuses_is_said_in_a_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.touch()
    command = [sys.executable, "-m", "jobs.serve_airflow", "--home", home]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == f"Airflow stopped. [Errno 17] File exists: '{home}'\n"


def test_another_airflows_variables_are_not_followed(
    serving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////production.db",
        "AIRFLOW__API__HOST": "0.0.0.0",
        "_AIRFLOW_DB_MIGRATE": "true",
        "AIRFLOW_CONFIG": "/opt/airflow.cfg",
        "PYTHONPATH": "/opt/airflow/plugins",
    }
    ours = {"AIRFLOW_VAR_CATALOG_DATABASE": "shop", "AIRFLOW_CONN_LAKE": "s3://"}
    for name, value in (others | ours).items():
        monkeypatch.setenv(name, value)
    environment = serving.airflow_environment(tmp_path)
    assert not environment.keys() & others.keys()
    assert environment.items() >= ours.items()
    assert environment["AIRFLOW_HOME"] == str(tmp_path)


def test_the_pool_is_made_once_so_that_its_slots_are_the_users_to_change(
    serving: ModuleType, commands: Path, tmp_path: Path
) -> None:
    serving.prepare_home(tmp_path, 8080)
    serving.prepare_home(tmp_path, 8080)
    calls = [line.split(" ", 1)[1] for line in commands.read_text().splitlines()]
    assert calls.count("pools set gpu_cluster 1 Spark applications at a time") == 1


def test_a_port_in_use_is_refused_before_anything_is_migrated_or_started(
    serving: ModuleType, commands: Path, tmp_path: Path, port: int
) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(serving.ServeError, match=f"Port {port} cannot be used: .* in use.*--port"),
    ):
        serving.serve(tmp_path / "home", port)
    assert not commands.exists()
    assert not (tmp_path / "home").exists()


def test_beside_an_airflow_that_a_killed_start_has_left_behind_none_is_started_on_its_database(
    serving: ModuleType, commands: Path, tmp_path: Path, port: int
) -> None:
    script = commands.parent / "bin" / "airflow"
    script.write_text(script.read_text().replace("sleep 1; exit 7", "exec sleep 300"))
    program = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(ROOT)!r})\n"
        "from jobs import serve_airflow as serving\n"
        f"serving.BIN = Path({str(script.parent)!r})\n"
        f"serving.serve(Path({str(tmp_path / 'home')!r}), {port})"
    )
    first = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: commands.exists() and " triggerer" in commands.read_text(), first)
        first.kill()
        first.wait()
        before = commands.read_text()
        with pytest.raises(serving.ServeError, match=r"at work in .*/home.*--home"):
            serving.serve(tmp_path / "home", port + 1)
        assert commands.read_text() == before
    finally:
        started = {int(line.split()[0]) for line in commands.read_text().splitlines()}
        left = [one for one in psutil.process_iter() if one.pid in started]
        for one in left:
            one.kill()
        psutil.wait_procs(left, timeout=10)
    script.write_text(script.read_text().replace("scheduler) exec sleep 300", "scheduler) exit 7"))
    with pytest.raises(serving.ServeError, match="scheduler has ended"):
        serving.serve(tmp_path / "home", port)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Waits, while the process runs."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)


def test_a_component_that_dies_is_named_and_ends_the_others(
    serving: ModuleType, commands: Path, tmp_path: Path, port: int
) -> None:
    with pytest.raises(serving.ServeError, match=r"scheduler has ended, .*scheduler\.log says why"):
        serving.serve(tmp_path, port)
    started = {
        words[1]: int(words[0]) for words in map(str.split, commands.read_text().splitlines())
    }
    assert set(serving.COMPONENTS) <= set(started)
    assert not any(psutil.pid_exists(started[name]) for name in serving.COMPONENTS)


def end_by(
    number: signal.Signals, commands: Path, home: Path, port: int, before: str
) -> int | None:
    """Signals a serving process once all components run; its exit code, None if it goes on."""
    script = commands.parent / "bin" / "airflow"
    script.write_text(script.read_text().replace("sleep 1; exit 7", "exec sleep 300"))
    program = (
        f"import signal, sys; from pathlib import Path; sys.path.insert(0, {str(ROOT)!r})\n"
        f"{before}\n"
        "from jobs import serve_airflow as serving\n"
        f"serving.BIN = Path({str(script.parent)!r})\n"
        "sys.exit(serving.main())"
    )
    served = ["--home", str(home), "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-c", program, *served])
    try:
        wait_until(lambda: commands.exists() and " triggerer" in commands.read_text(), process)
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(5)
        return None
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["kill", "terminal"])
def test_neither_a_kill_nor_a_closed_terminal_leaves_a_component_behind(
    number: signal.Signals, commands: Path, tmp_path: Path, port: int
) -> None:
    # Tests that were started by nohup pass on that this signal is ignored.
    heard = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    assert end_by(number, commands, tmp_path / "home", port, before=heard) == 0
    started = [int(line.split()[0]) for line in commands.read_text().splitlines()]
    assert not any(psutil.pid_exists(process) for process in started)


def test_under_nohup_a_closed_terminal_ends_nothing(
    commands: Path, tmp_path: Path, port: int
) -> None:
    nohup = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    assert end_by(signal.SIGHUP, commands, tmp_path / "home", port, before=nohup) is None


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(
    serving: ModuleType,
    commands: Path,
    tmp_path: Path,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            parts = ("scheduler", "dag_processor")
            self.wfile.write(json.dumps({name: {"status": "healthy"} for name in parts}).encode())

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "shop.example")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(urllib.request, "_opener", None)  # made of an earlier test's variables
    with HTTPServer(("127.0.0.1", port), Healthy, bind_and_activate=False) as server:

        def listen(home: Path, port: int) -> str:
            server.server_bind()
            server.server_activate()
            Thread(target=server.handle_request, daemon=True).start()
            return "password"

        monkeypatch.setattr(serving, "prepare_home", listen)  # until then the port has to be free
        with pytest.raises(serving.ServeError, match="scheduler has ended"):
            serving.serve(tmp_path, port)
    assert "Airflow is at" in capsys.readouterr().out
    environment = serving.airflow_environment(tmp_path)
    for name in ("no_proxy", "NO_PROXY"):
        assert environment[name] == "shop.example,127.0.0.1,localhost"


def test_a_set_up_that_was_interrupted_is_finished_by_the_next_start(
    serving: ModuleType, commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(home: Path, *arguments: str) -> None:
        (home / "airflow.db").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(serving, "run_airflow", interrupted)
        serving.prepare_home(tmp_path, 8080)
    serving.prepare_home(tmp_path, 8080)
    assert "pools set gpu_cluster" in commands.read_text()


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'"ok"', b"<html>"])
def test_another_program_on_the_port_is_no_airflow(serving: ModuleType, answer: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.handle_request, daemon=True).start()
        assert not serving.is_healthy(server.server_port)
