"""What is said while work takes long."""

import io

import pytest
from rich.console import Console

from enrich import terminal


def test_brackets_in_a_name_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(terminal, "CONSOLE", Console(file=log, width=60))
    terminal.say("colour: [/red] and [bold] are no labels of it")
    assert log.getvalue() == "colour: [/red] and [bold] are no labels of it\n"


def test_only_the_first_of_several_processes_shows_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "CONSOLE", Console(file=screen, force_terminal=True))
    monkeypatch.setattr(terminal, "rank", lambda: 1)
    terminal.say("epoch 2")
    assert list(terminal.watch("ab", "reading", 2)) == ["a", "b"]
    assert screen.getvalue() == ""
