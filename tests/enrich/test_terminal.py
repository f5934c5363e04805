"""Progress of long work, and Markdown that escapes texts."""

import io

import pytest
from rich.console import Console

from enrich import terminal
from enrich.terminal import Table, escape, to_markdown


def test_brackets_in_a_name_are_shown(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(terminal, "CONSOLE", Console(file=log, width=60))
    terminal.say("colour: [/red] and [bold] are no labels of it")
    assert log.getvalue() == "colour: [/red] and [bold] are no labels of it\n"


def test_only_the_first_of_several_processes_shows_anything(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "CONSOLE", Console(file=screen, force_terminal=True))
    monkeypatch.setattr(terminal, "rank", lambda: 1)
    terminal.say("epoch 2")
    assert list(terminal.watch("ab", "reading", 2)) == ["a", "b"]
    assert screen.getvalue() == ""


def test_a_log_gets_a_line_at_intervals_and_not_at_every_step(monkeypatch):
    log, clock = io.StringIO(), iter([0.0, 10.0, 20.0, 40.0, 40.0, 50.0])
    monkeypatch.setattr(terminal, "CONSOLE", Console(file=log, width=60))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.Steps("multitask epoch 2", 1_000, 100) as shown:
        for _ in range(4):
            shown.count(": loss 0.25")
    assert log.getvalue() == "multitask epoch 2: loss 0.25: 103 of 1,000\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cma-clip_v1.2 (0.9)", "cma-clip_v1.2 (0.9)"),
        ("a|b", r"a\|b"),
        ("*bold* _it_ `code`", r"\*bold\* \_it\_ \`code\`"),
        ("[x](y) <br> $1$ & ~", r"\[x\](y) \<br\> \$1\$ \& \~"),
        ("back\\slash", r"back\\slash"),
        ("two\nlines\r\n  more", "two lines more"),
    ],
)
def test_what_markdown_would_read_as_its_own_is_escaped(text, shown):
    assert escape(text) == shown


def test_table_has_a_heading_a_head_and_all_rows_of_all_blocks():
    table = Table("a|b", ("x", "y_"), [[["1", "2"], ["", "3"]], [], [["4", "|"]]])
    assert to_markdown(table).splitlines() == [
        r"### a\|b",
        "",
        r"| x | y\_ |",
        "| --- | --- |",
        "| 1 | 2 |",
        "|  | 3 |",
        r"| 4 | \| |",
    ]
