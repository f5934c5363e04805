"""A comparison as tables of text."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from enrich.analysis.compare import Comparison
from enrich.analysis.plots import file_name
from enrich.analysis.report import build_summary, build_tables, print_report, write_report
from enrich.training.batches import Condition

FIRST, SECOND = "cma-clip", "odd|[red]*name*"


def _record(checkpoint: str, condition: str, attribute: str, **given: object) -> dict[str, object]:
    where = {"checkpoint": checkpoint, "source": "myntra, test groups"}
    return where | {"condition": condition, "attribute": attribute} | given


@pytest.fixture
def comparison() -> Comparison:
    figures = [
        _record(
            checkpoint,
            condition.value,
            attribute,
            rows=1234,
            accuracy=0.91234,
            accuracy_interval=[0.9, 0.925],
            macro_f1=0.5,
            macro_f1_interval=[None, None],
            recall_at_90_precision={"color": 0.8, "style": 0.4}[attribute],
            recall_at_90_precision_interval=[0.1, 0.9],
            recall_at_95_precision=0.25,
            precision_at_90_threshold=None,
            answered_at_90_threshold=0.0,
            ece_before_calibration=0.1,
            ece=0.02,
        )
        for checkpoint in (FIRST, SECOND)
        for condition in Condition
        for attribute in ("color", "style")
    ]
    difference = {
        "against": FIRST,
        "accuracy": -0.02,
        "accuracy_interval": [-0.03, -0.01],
        "macro_f1": 0.01,
        "macro_f1_interval": [-0.01, 0.03],
        "recall_at_90_precision": 0.04,
        "recall_at_90_precision_interval": [0.01, 0.07],
    }
    costs = [
        {
            "checkpoint": checkpoint,
            "classifier": "cma_clip",
            "parameters": 6_543_207,
            "pretrained_parameters": 2_958_848,
            "flops_per_product": 451_000_000,
            "products_per_second": 1234.5,
            "checkpoint_bytes": 13_781_336,
        }
        for checkpoint in (FIRST, SECOND)
    ]
    differences = [
        _record(SECOND, "as is", attribute, **difference) for attribute in ("color", "style")
    ]
    return Comparison("a CPU, 1 thread", costs, figures, differences, {})


def test_overview_averages_only_what_all_answer_with_the_same_labels(
    comparison: Comparison,
) -> None:
    alike = [record for record in comparison.differences if record["attribute"] == "color"]
    overview = build_tables(replace(comparison, differences=alike))[0]
    assert [row[-1] for row in overview.blocks[0]] == ["0.800", "0.800"]
    alone = replace(comparison, costs=comparison.costs[:1], differences=[])
    assert build_tables(alone)[0].blocks[0][0][-1] == "0.600"


def test_overview_has_a_row_a_checkpoint_with_its_cost_and_mean_recall(
    comparison: Comparison,
) -> None:
    overview = build_tables(comparison)[0]
    assert list(overview.blocks[0][0]) == [
        FIRST,
        *("6.5 M", "3.0 M", "451", "1,234", "13.8"),
        *["0.600"] * 5,
    ]
    assert [row[0] for row in overview.blocks[0]] == [FIRST, SECOND]
    assert overview.columns[6:8] == (
        "myntra, test groups: as is",
        "myntra, test groups: text removed",
    )


def test_every_figure_is_of_its_own_checkpoint_and_condition(comparison: Comparison) -> None:
    conditions = [condition.value for condition in Condition]

    def number(record: dict[str, Any]) -> float:
        place = conditions.index(record["condition"])
        return [FIRST, SECOND].index(record["checkpoint"]) / 2 + place / 100

    figures = [
        record | {"recall_at_90_precision": number(record), "accuracy": number(record)}
        for record in comparison.figures
    ]
    numbered = replace(comparison, figures=figures)
    assert [row[6:] for row in build_tables(numbered)[0].blocks[0]] == [
        [f"0.{half}{place}0" for place in range(len(conditions))] for half in (0, 5)
    ]
    (first, _), *_ = build_summary(numbered).blocks
    assert (first[3], *first[7:]) == ("0.000", "0.010", "0.040")


def test_the_summary_has_a_dozen_columns_and_a_row_a_checkpoint(comparison: Comparison) -> None:
    others = [
        record | {"source": source, "accuracy": 0.5 + number / 10}
        for number, source in enumerate(("abo", "b", "c", "d"))
        for record in comparison.figures
    ]
    # Of this attribute the second one has another set of labels.
    others += [record | {"attribute": "fit", "accuracy": 0.0} for record in comparison.figures]
    table = build_summary(replace(comparison, figures=comparison.figures + others))
    assert table.columns == (
        *("checkpoint", "parameters", "products/s", "accuracy", "macro-F1", "R@90P", "ECE"),
        *("text removed: accuracy", "text of another product: accuracy"),
        *("abo: accuracy", "b: accuracy", "c: accuracy"),
    )
    figures = ["0.912", "0.500", "0.600", "0.020", "0.912", "0.912", "0.500", "0.600", "0.700"]
    assert table.blocks == [[[one, "6.5 M", "1,234", *figures] for one in (FIRST, SECOND)]]


def test_every_plot_that_was_written_is_linked(comparison: Comparison, tmp_path: Path) -> None:
    plots = [
        tmp_path / "plots" / file_name(checkpoint) / "myntra-test-groups" / f"{name}.png"
        for checkpoint in (FIRST, SECOND)
        for name in ("reliability", "confusion-sleeve_length")
    ]
    for plot in plots:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.touch()
    write_report(comparison, tmp_path)
    links = re.findall(r"\]\(([^)]+)\)", (tmp_path / "comparison.md").read_text())
    assert {tmp_path / unquote(link) for link in links} == {
        tmp_path / "plots" / "overview.png",
        *plots,
    }
    assert not any(re.search(r"[ \[\]]", link) for link in links)


def test_figures_stand_by_source_and_attribute_with_a_block_a_condition(
    comparison: Comparison,
) -> None:
    tables = {table.title: table for table in build_tables(comparison)}
    color = tables["color, myntra, test groups"]
    assert len(color.blocks) == 5 and [len(block) for block in color.blocks] == [2] * 5
    first, second = color.blocks[1]
    assert first[:4] == ["text removed", FIRST, "1,234", "0.912 (0.900-0.925)"]
    assert second[:2] == ["", SECOND]
    # What has no value, no interval, or is not there at all.
    assert first[4] == "0.500" and first[7] == "" and first[-1] == ""


def test_a_star_marks_differences_that_are_certain_either_way(comparison: Comparison) -> None:
    tables = {table.title: table for table in build_tables(comparison)}
    ((row,),) = tables[f"color, myntra, test groups: difference to {FIRST}"].blocks
    assert row[2:] == [
        "-0.020 (-0.030 to -0.010) *",
        "+0.010 (-0.010 to +0.030)",
        "+0.040 (+0.010 to +0.070) *",
    ]
    alone = build_tables(replace(comparison, differences=[]))[1:]
    assert [one.title[:5] for one in alone] == ["color", "style"]


def test_markdown_and_json_hold_every_checkpoint(comparison: Comparison, tmp_path: Path) -> None:
    write_report(comparison, tmp_path / "deep" / "report")
    written = tmp_path / "deep" / "report"
    assert json.loads((written / "comparison.json").read_text()) == asdict(comparison)
    lines = (written / "comparison.md").read_text().splitlines()
    assert r"odd\|\[red\]\*name\*" in "\n".join(lines) and "odd|" not in "\n".join(lines)
    for at, line in enumerate(lines):
        if line.startswith("| ---"):
            width = line.count("|")
            block = lines[at - 1 : [*lines, ""].index("", at)]
            assert {len(re.findall(r"(?<!\\)\|", row)) for row in block} == {width}


def test_terminal_shows_names_as_they_are_and_breaks_no_cell(
    comparison: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_report(comparison)
    out = capsys.readouterr().out
    assert SECOND in out and FIRST in out and "a CPU, 1 thread" in out
    assert out.count("1,234") == 2 and "differ" not in out
    assert max(map(len, out.splitlines())) < 150 and len(out.splitlines()) < 25


def test_a_checkpoint_that_may_have_seen_the_labels_is_named(
    comparison: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(comparison, tmp_path)
    assert "fitted to labelled" not in (tmp_path / "comparison.md").read_text()
    fitted = replace(comparison, fitted_to={FIRST: ["one source", "a_b"]})
    write_report(fitted, tmp_path)
    print_report(fitted)
    note = f"{FIRST} was fitted to labelled products of one source and a"
    assert note in (tmp_path / "comparison.md").read_text()
    assert note in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "comparison.json").read_text())["fitted_to"] == fitted.fitted_to
