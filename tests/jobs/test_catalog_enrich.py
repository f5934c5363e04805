"""One command for all jobs, from a checkout and from an installed wheel."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.catalog import write_demo_catalog
from enrich.spark.runs import RunSummary
from jobs import catalog_enrich, enrich_catalog
from jobs.catalog_enrich import COMMANDS, GROUPS

ROOT = Path(__file__).parents[2]
# Of no use where there is no checkout.
OF_A_CHECKOUT = {"__init__", "catalog_enrich", "set_up"}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command line: exit code, standard output and error."""
    monkeypatch.setenv("CATALOG_ENRICH_HOME", str(tmp_path))

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["catalog-enrich", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            catalog_enrich.main()
        return int(end.value.code or 0), *capsys.readouterr()

    return call


def run_fresh(code, **environment):
    """Return what a fresh interpreter prints that runs the code."""
    env = os.environ | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_help_lists_all_commands_in_order_and_loads_none_of_them():
    shown, loaded = run_fresh(
        "import sys; from jobs.catalog_enrich import main; sys.argv = ['catalog-enrich']\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    ).split("LOADED")
    names = list(dict.fromkeys(path.split()[0] for path in COMMANDS))
    places = [shown.index(f" {name} ") for name in names]
    assert places == sorted(places) and len(names) > 10
    ours = [module for module in loaded.split() if module.startswith("jobs.")]
    assert ours == ["jobs.catalog_enrich"]
    assert not {"torch", "pyspark", "pandas"} & set(loaded.split())


def test_every_job_of_users_is_a_command():
    files = {file.stem for file in (ROOT / "jobs").glob("*.py")}
    assert {target.partition(":")[0] for target, _ in COMMANDS.values()} == files - OF_A_CHECKOUT
    assert {path.split()[0] for path in COMMANDS if " " in path} == GROUPS.keys()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["enrch"], "Did you mean 'enrich'"),
        (["corrections"], "Missing command"),
        (["rollback", "--foo"], "No such option: --foo"),
        (["enrich", "--database", "a-b"], "database"),
        (["classify", "--catalog", "a.csv", "--output", "b.txt"], "b.txt"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(words, told, call):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ") and told in line


@pytest.mark.parametrize(
    ("words", "decision"),
    [
        (["approve", "--run-id", "r1"], ("r1", False, None)),
        (["approve", "--run-id", "r1", "--reason", "seen"], ("r1", False, "seen")),
        (["discard", "--run-id", "r1", "--reason", "blue"], ("r1", True, "blue")),
    ],
)
def test_approve_and_discard_decide_about_a_run(words, decision, call, monkeypatch, tmp_path):
    seen, shown = [], []

    def decide(settings, *rest):
        seen.append((settings.database, rest[-1]))
        summary = RunSummary("r1", counts={"published": 7})
        return enrich_catalog.Ended(None, summary, 0)

    monkeypatch.setattr(enrich_catalog, "decide_run", decide)
    monkeypatch.setattr(enrich_catalog, "show_run", lambda *given: shown.append(given[-1]))
    assert call(*words, "--database", "shop", "--summary", tmp_path / "end.json")[0] == 0
    assert seen == [("shop", enrich_catalog.Decision(*decision))]
    assert shown == [[]], "only a refresh of the demo is scored"
    assert json.loads((tmp_path / "end.json").read_text())["counts"] == {"published": 7}


def test_without_spark_a_command_that_needs_it_says_what_to_install():
    shown = run_fresh(
        "import sys; from jobs.catalog_enrich import main; sys.modules['pyspark'] = None\n"
        "sys.stderr = sys.stdout; sys.argv = ['catalog-enrich', 'maintain']\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)"
    )
    said, code = shown.splitlines()
    assert code == "2" and "catalog-enrichment[spark]" in said


# From a wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel of this checkout is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("enrich", "schemas", "expectations", "demo", "jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--target", folder / "packages", source]
    subprocess.run([*pip, "install", *options], check=True)
    return folder / "packages"


def run_nameless(installed, home, *words):
    """Run the wheel's command for a user without name and HOME, in a folder nobody may write to."""
    hide_names = 'mount --bind /dev/null /etc/passwd && exec "$@"'
    python = [sys.executable, installed / "bin" / "catalog-enrich", *words]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{installed}:{sysconfig.get_path('purelib')}",
        "CATALOG_ENRICH_HOME": str(home),
    }
    command = ["unshare", "--mount", "sh", "-c", hide_names, "sh", *map(str, python)]
    return subprocess.run(command, cwd="/proc", env=environment, capture_output=True, text=True)


@pytest.fixture
def nameless(installed, tmp_path):
    """Return a function that runs the wheel's command as `run_nameless` does."""
    hidden = ["unshare", "--mount", "mount", "--bind", "/dev/null", "/etc/passwd"]
    if shutil.which("unshare") is None or subprocess.run(hidden, capture_output=True).returncode:
        pytest.skip("THIS USER MAY NOT MOUNT, so it is NOT tested that names are not needed")
    return lambda *words: run_nameless(installed, tmp_path, *words)


def write_shop(folder):
    """Write a product table of 25 rows, and return its file."""
    write_demo_catalog(folder / "shop", products=25, faults=False)
    return folder / "shop" / "products.parquet"


@pytest.mark.long
@pytest.mark.spark
def test_a_wheel_enriches_for_a_user_without_name_and_home(nameless, tmp_path):
    ended = nameless("enrich", "--catalog", write_shop(tmp_path))
    assert ended.returncode == 0, ended.stderr
    run = json.loads(ended.stdout.splitlines()[-1])
    assert run["outcome"] == "published" and run["counts"]["published"] == 25
    assert Path(run["report"]).parent == tmp_path / "lakehouse" / "reports"
