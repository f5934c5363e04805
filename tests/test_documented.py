"""The tables of the documents name what the code has: settings, flags, columns, keys."""

import dataclasses
import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import typer
from job_script import load_job
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from enrich import metrics
from enrich.settings_files import load_yaml
from enrich.spark.plan import Plan
from enrich.spark.runs import RunSummary
from enrich.training.config import TrainingConfig
from expectations.settings import ValidationSettings
from schemas import tables
from schemas.tables import COUNTS

ROOT = Path(__file__).parent.parent
JOB = load_job("enrich_catalog")
# Of benchmarks and set-up `--help` tells enough.
USER_JOBS = sorted(
    {file.stem for file in (ROOT / "jobs").glob("*.py")}
    - {"__init__", "bench_inference", "bench_refresh", "catalog_enrich", "set_up"}
)
SETTINGS = JOB.Settings.model_fields
# What is said of a default that is none.
NOTHING = ("none", "\N{EN DASH}", "bundled", "all stages on the same executors")


def section(file: str, title: str) -> str:
    """Returns what stands under a heading, up to the next one."""
    text = (ROOT / file).read_text()
    (_, after) = re.split(rf"^#+ {re.escape(title)}$", text, flags=re.MULTILINE)
    return re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[list[str]]:
    """Returns the names in the first cell of each row of a table."""
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return [re.findall(r"`([^`]+)`", cell) for cell in rows]


def columns_of(ddl: str) -> set[str]:
    return set(re.findall(r"^ *`?(\w+)`? [A-Z]", ddl, re.MULTILINE))


def settings_told() -> dict[str, tuple[str, str]]:
    """Returns the row and the default of each setting, by its name or `group.key`."""
    told = {}
    text = section("docs/settings.md", "Settings")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for row, names in zip(rows, first_cells(text), strict=True):
        cell = row.split(" |")[2].strip()
        defaults = cell.split(", ") if len(names) > 1 and ", " in cell else [cell] * len(names)
        for name, default in zip(names, defaults, strict=True):
            name = names[0].split(".")[0] + name if name.startswith(".") else name
            told[name] = (row, default.removesuffix(" each"))
    return told


def keys_of(name: str) -> dict[str, FieldInfo]:
    """Returns what a setting that is a group of settings holds; nothing for any other."""
    kinds = (SETTINGS[name].annotation, *get_args(SETTINGS[name].annotation))
    groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return {key: field for group in groups for key, field in group.model_fields.items()}


def test_every_setting_is_documented() -> None:
    told, wanted = settings_told(), set()
    for name in SETTINGS:
        keys = keys_of(name)
        if name in told:
            # Its keys stand in a table of their own, or in its row.
            has_table = name in ("columns", "validation")
            text = section("docs/settings.md", name.title()) if has_table else told[name][0]
            assert [key for key in keys if f"`{key}`" not in text] == []
        wanted |= {f"{name}.{key}" for key in keys if name not in told} or {name}
    assert told.keys() == wanted


def test_every_setting_is_documented_with_its_default() -> None:
    for name, (_, default) in settings_told().items():
        group, _, key = name.partition(".")
        wanted = (keys_of(group)[key] if key else SETTINGS[name]).default
        if isinstance(wanted, BaseModel):
            continue  # each of its keys has one
        if isinstance(wanted, int | float):
            assert float(default.replace(",", "")) == wanted, name
        elif wanted:
            assert default == f"`{wanted}`", name
        else:
            assert default in NOTHING, name


def test_columns_are_called_by_default_as_is_documented() -> None:
    _, default = settings_told()["columns"]
    called = JOB.Settings().columns.model_dump()
    assert re.findall(r"`(\w+)`", default) == [name for name in called.values() if name]
    assert re.findall(r"no (\w+)", default) == [role for role, name in called.items() if not name]


def test_what_validation_allows_is_documented_with_its_default() -> None:
    text = section("docs/settings.md", "Validation")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {row[0].strip("| `"): row[-1].strip("| `") for row in rows}
    fields = ValidationSettings.model_fields
    assert told.keys() == fields.keys()
    for name, default in told.items():
        wanted = fields[name].default
        assert (
            default == str(wanted)
            or (default == "none" and wanted == ())
            or (float(default) == float(wanted))
        )


def flags_of(job: ModuleType) -> set[str]:
    app = typer.Typer(add_completion=False)
    app.command()(job.main)
    return {flag for given in typer.main.get_command(app).params for flag in given.opts}


@pytest.mark.parametrize("name", USER_JOBS)
def test_every_flag_is_told_of_where_the_job_is(name: str) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    sections = [part for page in pages for part in re.split(r"^##+ ", page.read_text(), flags=re.M)]
    of_job = [part for part in sections if f"{name}.py" in part]
    told = set(re.findall(r"--[a-z][a-z-]*", "".join(of_job)))
    assert flags_of(load_job(name)) - told == set()


def test_every_flag_is_in_the_readme() -> None:
    told = {
        found[0]
        for names in first_cells(section("README.md", "Flags of `jobs/enrich_catalog.py`"))
        for name in names
        if (found := re.match(r"--[a-z-]+", name))
    }
    assert told == flags_of(JOB)


def test_every_key_of_the_last_lines_is_documented() -> None:
    told = {
        name
        for names in first_cells(section("docs/settings.md", "The JSON line"))
        for name in names
    }
    assert told == {field.name for field in dataclasses.fields(RunSummary)}
    text = section("docs/operations.md", "Logs, metrics, dry run")
    _, of_a_plan = text.split("**Dry run.**")[1].split("The last line is one JSON object:")
    for field in dataclasses.fields(Plan):
        assert f"`{field.name}`" in of_a_plan


def test_every_metric_is_documented() -> None:
    told = {
        name
        for names in first_cells(section("docs/operations.md", "Logs, metrics, dry run"))
        for name in names
    }
    written = set(re.findall(r'"(last_[a-z_]+)"', (ROOT / "enrich/metrics.py").read_text()))
    assert told == written | {f"encoding_{name}" for name in metrics.FIGURES}


def test_every_column_status_reason_and_state_is_documented() -> None:
    text = (ROOT / "docs/tables.md").read_text()
    published = columns_of(tables.product_attributes(("color",)))
    for table, ddl in tables.tables(("color",)).items():
        row = re.search(rf"^\| `{table}` \| .*$", text, re.MULTILINE)
        told = row[0] if row else section("docs/tables.md", table)
        # The counts are those of the JSON line, a candidate's columns those of the published table.
        elsewhere = set(COUNTS) | (published if table == "candidates" else set())
        if table == "label_quality":
            told += (ROOT / "docs/validation.md").read_text()
        assert [c for c in columns_of(ddl) - elsewhere if f"`{c}`" not in told] == [], table
    assert [status for status in tables.Status if f"`{status}`" not in text] == []
    assert [state for state in tables.State if f"`{state}`" not in text] == []
    text += (ROOT / "docs/input.md").read_text()
    assert [reason for reason in tables.Reason if f"`{reason}`" not in text] == []
    text += (ROOT / "docs/operations.md").read_text()
    due = [outcome for outcome in tables.DUE if f"`{outcome}`" not in text]
    assert due == []
    counts = section("docs/operations.md", "Counts")
    assert [count for count in COUNTS if f"`{count}`" not in counts] == []


def test_every_expectation_is_documented() -> None:
    code = "".join(file.read_text() for file in (ROOT / "expectations").glob("*.py"))
    known = set(re.findall(r'"(expect_[a-z_]+)"', code))
    for name in re.findall(r"^class (Expect\w+)\((?!BaseModel)", code, re.MULTILINE):
        known.add(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    assert (
        set(re.findall(r"`(expect_[a-z_]+)`", (ROOT / "docs/validation.md").read_text())) == known
    )


@pytest.mark.parametrize(
    "file", sorted((ROOT / "jobs" / "conf").glob("*.yaml")), ids=lambda f: f.name
)
def test_configurations_that_come_along_are_valid(file: Path) -> None:
    load_yaml(file, TrainingConfig if file.name.startswith("training_") else JOB.Settings, {})


def test_a_whole_clip_learns_against_the_shortcut_as_the_bundled_checkpoint_does() -> None:
    small, clip = (
        load_yaml(ROOT / "jobs" / "conf" / f"training_{name}.yaml", TrainingConfig, {})
        for name in ("small", "clip")
    )
    shares = [name for name in TrainingConfig.model_fields if name.endswith("_text")]
    shares += ["mask_label_words", "drop_image", "image_alone"]
    assert {n: getattr(clip, n) for n in shares} == {n: getattr(small, n) for n in shares}


def test_every_link_between_the_documents_leads_somewhere() -> None:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    lost = [
        f"{file.name}: {link}"
        for file in files
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"\s*\n\s*", " ", file.read_text()))
        if not (link.startswith("http") or _leads_somewhere(file, link))
    ]
    assert lost == []


def _leads_somewhere(file: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = file.parent / path if path else file
    return target.exists() and (not anchor or anchor in _anchors_of(target))


def _anchors_of(file: Path) -> set[str]:
    """Returns the names that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
