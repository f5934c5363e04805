"""A command ends in one message and an exit code."""

import sys

import pytest

from enrich.command_line import run_command
from enrich.errors import (
    CheckpointError,
    ConfigError,
    EnrichError,
    SchemaMismatch,
    TooManyFailures,
    ValidationFailed,
)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (EnrichError, 1),
        (ConfigError, 2),
        (SchemaMismatch, 2),
        (CheckpointError, 2),
        (ValidationFailed, 3),
        (TooManyFailures, 3),
    ],
)
def test_a_known_error_is_one_line_and_its_exit_code(
    raised: type[EnrichError],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise raised("found this,\n  wanted that\n")

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: found this, wanted that\n")


def test_an_unknown_flag_ends_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        pass

    monkeypatch.setattr(sys, "argv", ["job", "--no-such-flag"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 2 and "--no-such-flag" in capsys.readouterr().err
