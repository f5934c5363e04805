"""A command ends in one message and an exit code."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import typer

from enrich import cli, config, errors
from enrich.cli import DEFAULT_CONFIG, Given, common_options, run_command

# The tree of the module's docstring.
EXIT_CODES = dict(re.findall(r"(\w+) +exit (\d)", errors.__doc__))


def test_every_error_has_an_exit_code_that_is_told():
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    known = {one.__name__ for one in classes if issubclass(one, errors.EnrichError)}
    assert set(EXIT_CODES) == known


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_a_known_error_is_one_line_and_its_exit_code(name, code, monkeypatch, capsys):
    error = getattr(errors, name)("found this,\n  wanted that\n")

    def main():
        raise error

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == int(code)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {' '.join(str(error).split())}\n")
    assert "found this, wanted that" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-such-flag"], "No such option: --no-such-flag"),
        (["--limit", "abc"], "Invalid value for '--limit'"),
        (["--image-root="], "Invalid value for '--image-root': is empty"),
        (["s3://key:secret@shop"], "s3://***@shop"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(words, told, monkeypatch, capsys):
    @common_options("image_root")
    def main(given: Given, limit: int = 1) -> None:
        pass

    monkeypatch.setattr(sys, "argv", ["job", *words])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and told in line and line.endswith("--help lists the flags.")


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 0), (["--fail"], 4)])
def test_a_command_ends_as_it_says(words, code, monkeypatch, capsys):
    def main(fail=False):
        if fail:
            raise typer.Exit(4)

    monkeypatch.setattr(sys, "argv", ["job", *words])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert (end.value.code or 0) == code
    assert ("--fail" in capsys.readouterr().out) == (words == ["--help"])


def test_default_settings_write_beside_the_local_tables(monkeypatch, tmp_path):
    own = tmp_path / "shop.yaml"
    own.write_text("report_dir: pages\n")
    monkeypatch.setenv("CATALOG_ENRICH_HOME", str(tmp_path / "home"))
    settings = Given().read()
    assert settings.report_dir == tmp_path / "home" / "lakehouse" / "reports"
    assert settings.metrics_dir
    assert settings.baseline and settings.baseline.exists()
    assert Given(own).read().report_dir == tmp_path / "pages"
    assert Given(own).read().metrics_dir is None
    assert Given(catalog="shop").read().baseline is None, "that of the demo is not a shop's"
    assert Given(catalog="demo").read().baseline == settings.baseline


def test_the_default_settings_given_by_their_path_are_the_default(monkeypatch):
    told = []

    @common_options("checkpoint")
    def main(given: Given, name: str = "") -> None:
        told.append((given, name))

    monkeypatch.chdir(DEFAULT_CONFIG.parent)
    for file in (DEFAULT_CONFIG, "../conf/local.yaml", "production.yaml"):
        monkeypatch.setattr(sys, "argv", ["job", "--name", "x", "--config", str(file)])
        with pytest.raises(SystemExit):
            run_command(main)
    assert told == [(Given(), "x"), (Given(), "x"), (Given(Path("production.yaml")), "x")]


def test_a_command_is_repeated_in_another_folder_with_whole_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = Given(Path("shop.yaml"), database="shop", checkpoint="s3://models/shop")
    config = str(tmp_path / "shop.yaml")
    assert given.repeat("config", "image_root") == {"config": config}
    assert given.repeat("database", "checkpoint") == {
        "database": "shop",
        "checkpoint": "s3://models/shop",
    }


@pytest.mark.parametrize("is_checkout", [True, False])
def test_local_tables_are_in_the_checkout_or_where_a_command_is_called(
    is_checkout, checkout, monkeypatch, tmp_path
):
    monkeypatch.delenv("CATALOG_ENRICH_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "__file__", str(checkout / "enrich" / "config.py"))
    if not is_checkout:
        (checkout / "pyproject.toml").unlink()
    assert config.home() == (checkout if is_checkout else tmp_path)


@pytest.fixture
def checkout(tmp_path):
    """Another checkout, with a job of its own."""
    for folder in ("jobs", "enrich"):
        (tmp_path / "copy" / folder).mkdir(parents=True)
    (tmp_path / "copy" / "pyproject.toml").touch()
    (tmp_path / "copy" / "jobs" / "job.py").write_text(
        "from enrich.cli import run_command\n"
        "def main() -> None:\n"
        '    print("at work")\n'
        "run_command(main)\n"
    )
    return tmp_path / "copy"


def run_in(checkout):
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(checkout / "jobs" / "job.py"), run_name="__main__")
    return int(end.value.code or 0)


def test_a_job_of_another_checkout_than_its_package_is_refused(checkout, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["job"])
    assert run_in(checkout) == 2
    out, err = capsys.readouterr()
    assert out == "" and f"In {checkout} run `python3 -m jobs.set_up`" in err
    assert str(Path(cli.__file__).parents[1]) in err


@pytest.mark.parametrize("package", ["copy", "link", "lib/site-packages"])
def test_a_job_of_a_checkout_runs_with_its_own_package_and_with_one_that_was_installed(
    checkout, package, monkeypatch, capsys
):
    (checkout.parent / "link").symlink_to(checkout)
    file = checkout.parent / package / "enrich" / "cli.py"
    monkeypatch.setattr(cli, "__file__", str(file))
    monkeypatch.setattr(sys, "argv", ["job"])
    assert run_in(checkout) == 0
    assert capsys.readouterr().out == "at work\n"


def test_a_job_that_was_sent_without_its_checkout_runs(checkout, monkeypatch):
    (checkout / "enrich").rmdir()
    monkeypatch.setattr(sys, "argv", ["job"])
    assert run_in(checkout) == 0
