"""The tables of the documents name what the code has: settings, flags, columns, keys."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import typer
from job_script import load_job

from enrich import metrics
from enrich.config import JobConfig
from enrich.settings_files import load_yaml
from enrich.spark.dry_run import Plan
from enrich.spark.runs import RunSummary
from enrich.training.config import TrainingConfig
from schemas import tables
from schemas.tables import COUNTS

ROOT = Path(__file__).parent.parent
JOB = load_job("enrich_catalog")
PARTS = ("enrich", "expectations", "schemas", "jobs", "airflow_dags", "bench", "demo", "tests")
# Of set-up `--help` tells enough.
USER_JOBS = sorted(
    {file.stem for file in (ROOT / "jobs").glob("*.py")} - {"__init__", "catalog_enrich", "set_up"}
)


def section(file, title):
    """Returns what stands under a heading, up to the next one."""
    text = (ROOT / file).read_text()
    (_, after) = re.split(rf"^#+ {re.escape(title)}$", text, flags=re.MULTILINE)
    return re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text):
    """Returns the names in the first cell of each row of a table."""
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return [re.findall(r"`([^`]+)`", cell) for cell in rows]


def columns_of(ddl):
    return set(re.findall(r"^ *`?(\w+)`? [A-Z]", ddl, re.MULTILINE))


def test_settings_are_told_as_their_fields_say():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    page = docs.PAGE.read_text()
    assert docs.generate(page) == page, "run: make docs"


def flags_of(job):
    app = typer.Typer(add_completion=False)
    app.command()(job.main)
    return {flag for given in typer.main.get_command(app).params for flag in given.opts}


@pytest.mark.parametrize("name", USER_JOBS)
def test_every_flag_is_told_of_where_the_job_is(name):
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    sections = [part for page in pages for part in re.split(r"^##+ ", page.read_text(), flags=re.M)]
    of_job = [part for part in sections if f"{name}.py" in part]
    told = set(re.findall(r"--[a-z][a-z-]*", "".join(of_job)))
    assert flags_of(load_job(name)) - told == set()


def test_every_flag_is_in_the_readme():
    told = {
        found[0]
        for names in first_cells(section("README.md", "Flags of `jobs/enrich_catalog.py`"))
        for name in names
        if (found := re.match(r"--[a-z-]+", name))
    }
    assert told == flags_of(JOB)


def test_every_key_of_the_last_lines_is_documented():
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


def test_every_metric_is_documented():
    told = {
        name
        for names in first_cells(section("docs/operations.md", "Logs, metrics, dry run"))
        for name in names
    }
    written = set(re.findall(r'"(last_[a-z_]+)"', (ROOT / "enrich/metrics.py").read_text()))
    assert told == written | {f"encoding_{name}" for name in metrics.FIGURES}


def test_every_column_status_reason_and_state_is_documented():
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


def test_every_expectation_is_documented():
    code = "".join(file.read_text() for file in (ROOT / "expectations").glob("*.py"))
    known = set(re.findall(r'"(expect_[a-z_]+)"', code))
    for name in re.findall(r"^class (Expect\w+)\((?!BaseModel)", code, re.MULTILINE):
        known.add(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    assert (
        set(re.findall(r"`(expect_[a-z_]+)`", (ROOT / "docs/validation.md").read_text())) == known
    )


@pytest.mark.parametrize(
    "file",
    sorted([*ROOT.glob("jobs/conf/*.yaml"), *ROOT.glob("bench/*.yaml")]),
    ids=lambda f: f.name,
)
def test_configurations_that_come_along_are_valid(file):
    load_yaml(file, TrainingConfig if file.name.startswith("training_") else JobConfig, {})


def test_a_whole_clip_learns_against_the_shortcut_as_the_bundled_checkpoint_does():
    small, clip = (
        load_yaml(ROOT / "jobs" / "conf" / f"training_{name}.yaml", TrainingConfig, {})
        for name in ("small", "clip")
    )
    shares = [name for name in TrainingConfig.model_fields if name.endswith("_text")]
    shares += ["mask_label_words", "drop_image", "image_alone"]
    assert {n: getattr(clip, n) for n in shares} == {n: getattr(small, n) for n in shares}


def test_every_link_between_the_documents_leads_somewhere():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    lost = [
        f"{file.name}: {link}"
        for file in files
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"\s*\n\s*", " ", file.read_text()))
        if not (link.startswith("http") or _leads_somewhere(file, link))
    ]
    assert lost == []


def _leads_somewhere(file, link):
    path, _, anchor = link.partition("#")
    target = file.parent / path if path else file
    return target.exists() and (not anchor or anchor in _anchors_of(target))


def _anchors_of(file):
    """Returns the names that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("file", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_guides_name_files_and_constants_that_exist(file):
    named = re.findall(r"`([^`\s]+)`", (ROOT / file).read_text())
    sources = [one for part in PARTS for one in (ROOT / part).rglob("*.py")]
    code = "\n".join(one.read_text() for one in sources)
    names = {one.name for one in sources}
    files = [one for one in named if one.endswith(".py") and "*" not in one]
    constants = [one for one in named if re.fullmatch(r"_?[A-Z_]{4,}", one) and "_" in one]
    assert files
    assert constants or file == "ARCHITECTURE.md"
    assert not [one for one in files if Path(one).name not in names]
    assert not [one for one in files if "/" in one and not (ROOT / one).exists()]
    assert not [one for one in constants if one not in code and not hasattr(tables, one)]
