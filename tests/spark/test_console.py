"""What a job prints for people."""

from typing import cast

from enrich.spark import console
from enrich.spark.console import describe_counts
from enrich.spark.runs import RunSummary
from enrich.spark.tables import Tables
from schemas.tables import COUNTS

NOTHING = dict.fromkeys(COUNTS, 0) | {"abstained": {}}


def test_counts_are_told_in_one_line_without_those_that_are_zero():
    assert describe_counts(NOTHING) == "no products"
    counts = NOTHING | {
        "read": 1200,
        "answered": 1100,
        "quarantined": 100,
        "abstained": {"color": 1000, "pattern": 0, "style": 2},
    }

    told = describe_counts(counts)

    assert told == "1,200 read, 1,100 answered, 100 quarantined; abstained: color 1,000, style 2"


def test_whoever_reads_json_lines_is_shown_no_table(monkeypatch, capsys):
    told: list[object] = []
    monkeypatch.setattr(console, "print_json_line", lambda line, **_: told.append(line))
    monkeypatch.setattr(console, "is_json", lambda: True)

    # Tables would be asked for the rows to show.
    console.show_run(cast(Tables, None), RunSummary(outcome="published"))

    assert len(told) == 1 and capsys.readouterr().out == ""
