"""Markdown shows a cell's text as it stands."""

import pytest

from enrich.terminal import Table, escape, to_markdown


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
