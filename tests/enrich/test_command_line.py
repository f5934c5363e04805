"""A command ends in one message and an exit code."""

import re
import sys

import pytest
import typer

from enrich import errors
from enrich.command_line import ImageRootOption, run_command

# The tree of the module's docstring.
EXIT_CODES = dict(re.findall(r"(\w+) +exit (\d)", errors.__doc__))


def test_every_error_has_an_exit_code_that_is_told() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    known = {one.__name__ for one in classes if issubclass(one, errors.EnrichError)}
    assert set(EXIT_CODES) == known


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_a_known_error_is_one_line_and_its_exit_code(
    name: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = getattr(errors, name)("found this,\n  wanted that\n")

    def main() -> None:
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
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(limit: int = 1, image_root: ImageRootOption = None) -> None:
        pass

    monkeypatch.setattr(sys, "argv", ["job", *words])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and told in line and line.endswith("--help lists the flags")


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 0), (["--fail"], 4)])
def test_a_command_ends_as_it_says(
    words: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(fail: bool = False) -> None:
        if fail:
            raise typer.Exit(4)

    monkeypatch.setattr(sys, "argv", ["job", *words])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert (end.value.code or 0) == code
    assert ("--fail" in capsys.readouterr().out) == (words == ["--help"])
