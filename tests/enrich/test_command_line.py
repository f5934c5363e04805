"""A command ends in one message and an exit code."""

import re
import sys

import pytest

from enrich import errors
from enrich.command_line import run_command

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


def test_an_unknown_flag_ends_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        pass

    monkeypatch.setattr(sys, "argv", ["job", "--no-such-flag"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 2 and "--no-such-flag" in capsys.readouterr().err
