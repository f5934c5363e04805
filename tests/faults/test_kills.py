"""A run that is killed by SIGKILL and said again ends with the tables of an undisturbed run."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from fault_drill import Drill
from kill_points import Control, KillPoint
from long_tests import is_long
from two_days import DAYS, write_catalogs

pytestmark = pytest.mark.spark

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# When and how fast something happened; what else two runs of one kind write is the same.
MAY_DIFFER = {
    "product_attributes": {"enriched_at"},
    "staged_attributes": {"enriched_at", "chunk"},
    "enrichment_runs": {"started_at", "finished_at", "seconds", "asked", "published_version"},
    "quarantine": set(),
    "label_quality": set(),
    "attribute_corrections": set(),
}
# A run, the tables that it starts from, and those that it ends with if nobody disturbs it.
BEFORE = {"monday": None, "tuesday": "corrected", "publish": "draft", "roll_back": "whole"}
UNDISTURBED = {"monday": "base", "tuesday": "whole", "publish": "late", "roll_back": "undone"}

IN_SHORT = (("monday", KillPoint("call", "append_chunk", 1, "after")),)
NOT_AT_COMMITS = (
    ("monday", KillPoint("statement", "CREATE TABLE", 3, "after")),
    # Delta's log has the table by then, the metastore has not.
    ("monday", KillPoint("files", "*/_delta_log/00000000000000000000.json", 3)),
    ("monday", KillPoint("statement", "CREATE OR REPLACE VIEW", 2, "before")),
    ("tuesday", KillPoint("image", "three.jpg")),
    ("tuesday", KillPoint("engine", "p25")),
    ("tuesday", KillPoint("worker", "p25")),
    # Answers are written, the commit is not.
    ("tuesday", KillPoint("files", "staged_attributes/**/*.parquet", 2)),
    ("tuesday", KillPoint("merge")),
    ("tuesday", KillPoint("files", "product_attributes/*.parquet", 1)),
    ("publish", KillPoint("call", "publish", 1, "after")),
    ("roll_back", KillPoint("statement", "RESTORE", 1, "after")),
    ("roll_back", KillPoint("call", "replace_run enrichment_runs", 1, "before")),
)


@dataclass
class Case:
    """A run that was killed at a point and said again; `staged` is what it had staged by then."""

    database: str
    run: str
    point: KillPoint
    is_killed: bool = False
    staged: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.run}, {self.point}"


@dataclass
class Lakehouse:
    """Tables and a metastore of their own, and the processes that work on them."""

    home: Path
    queue: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> int:
        """Runs what is queued in a new process, in a session of its own; returns its exit code."""
        told = json.dumps({"home": str(self.home), "steps": self.queue})
        self.queue.clear()
        paths = [str(ROOT), str(ROOT / "tests" / "support")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with (self.home / "log.txt").open("a") as log:
            return subprocess.run(
                [sys.executable, HERE / "killed_refresh.py", told],
                start_new_session=True,
                env=environment,
                stdout=log,
                stderr=log,
                timeout=300,
            ).returncode

    def answers(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Returns what the steps answered that came to their end, by database and attempt."""
        lines = (self.home / "answers.jsonl").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        return {(one["database"], one["attempt"]): one for one in told}

    def asked(self, database: str, attempt: str) -> Counter[str]:
        """Returns the products that the engine was asked about, and how often."""
        lines = (self.home / "asked.txt").read_text().splitlines()
        told = [line.rsplit(" ", 1) for line in lines]
        return Counter(product for where, product in told if where == f"{database} {attempt}")

    def read(self, database: str, table: str) -> list[dict[str, Any]]:
        """Returns a table's rows; none where there is no table yet."""
        folder = self.home / "warehouse" / f"{database}.db" / table
        if not any((folder / "_delta_log").glob("*.json")):
            return []
        return list(DeltaTable(str(folder)).to_pyarrow_table().to_pylist())

    def step(self, run: str, database: str, attempt: str = "first") -> dict[str, Any]:
        """Returns what a process is told to do."""
        return {"do": run, "database": database, "attempt": attempt}

    def differences(self, case: Case) -> list[str]:
        """Returns the rows that only one of a case and the undisturbed run has."""
        found = []
        for table, may_differ in MAY_DIFFER.items():
            wanted, there = (
                Counter(
                    json.dumps({k: v for k, v in row.items() if k not in may_differ}, default=str)
                    for row in self.read(database, table)
                )
                for database in (UNDISTURBED[case.run], case.database)
            )
            found += [f"{table} lacks {row}" for row in wanted - there]
            found += [f"{table} has {row}" for row in there - wanted]
        return found


@pytest.fixture(scope="module")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """Undisturbed runs of every kind that is killed."""
    lakehouse = Lakehouse(tmp_path_factory.mktemp("killed"))
    write_catalogs(lakehouse.home)
    step = lakehouse.step
    lakehouse.queue.append(step("monday", "base"))
    if is_long():
        lakehouse.queue += [
            {"do": "copy", "database": "corrected", "source": "base"},
            {"do": "correct", "database": "corrected"},
            {"do": "copy", "database": "whole", "source": "corrected"},
            {**step("tuesday", "whole"), "record": True},
            {"do": "copy", "database": "undone", "source": "whole"},
            step("roll_back", "undone"),
            {"do": "copy", "database": "draft", "source": "corrected"},
            {**step("tuesday", "draft"), "publish": False},
            {"do": "copy", "database": "late", "source": "draft"},
            step("publish", "late"),
        ]
        assert lakehouse.run() == 0, (lakehouse.home / "log.txt").read_text()[-3000:]
    return lakehouse


@pytest.fixture(scope="module")
def cases(lakehouse: Lakehouse, drill: Drill) -> list[Case]:
    """Every case, killed once, and said again by the process that is killed next."""
    runs = choose_points(lakehouse)
    cases = [Case(f"case_{n}", run, point) for n, (run, point) in enumerate(runs)]
    for case in cases:
        if source := BEFORE[case.run]:
            lakehouse.queue.append({"do": "copy", "database": case.database, "source": source})
        doomed = lakehouse.step(case.run, case.database)
        lakehouse.queue.append(doomed | {"point": asdict(case.point)})
        exit_code = lakehouse.run()
        # A worker that died alone has wiped the point away.
        is_worker_dead = exit_code == 0 and Control.ask(lakehouse.home).point is None
        case.is_killed = exit_code == -9 or (case.point.kind == "worker" and is_worker_dead)
        staged = lakehouse.read(case.database, "staged_attributes")
        mine = DAYS["monday" if case.run == "monday" else "tuesday"]
        case.staged = {row["product_id"] for row in staged if row["run_date"] == mine}
        lakehouse.queue.append(lakehouse.step(case.run, case.database, "again"))
    assert lakehouse.run() == 0, (lakehouse.home / "log.txt").read_text()[-3000:]
    survived = [case for case in cases if case.is_killed and not lakehouse.differences(case)]
    drill.counts["kill_points"] += len(cases)
    drill.counts["kills"] += sum(case.is_killed for case in cases)
    drill.counts["kills_survived"] += len(survived)
    return cases


def choose_points(lakehouse: Lakehouse) -> list[tuple[str, KillPoint]]:
    """Returns where which run is killed: around every commit that it made, and elsewhere."""
    if not is_long():
        return list(IN_SHORT)
    seen: Counter[str] = Counter()
    around: list[tuple[str, KillPoint]] = []
    for call in lakehouse.answers()["whole", "first"]["committed"]:
        seen[call] += 1
        around += [
            ("tuesday", KillPoint("call", call, seen[call], when)) for when in ("before", "after")
        ]
    return [*around, *NOT_AT_COMMITS]


def test_run_killed_anywhere_and_said_again_ends_with_the_tables_of_an_undisturbed_run(
    lakehouse: Lakehouse, cases: list[Case]
) -> None:
    spared = [str(case) for case in cases if not case.is_killed]
    broken = {str(case): found for case in cases if (found := lakehouse.differences(case))}

    assert not spared
    assert not broken, json.dumps(broken, indent=1)
    if is_long():
        assert len(cases) >= 12


def test_product_that_was_staged_before_the_kill_is_not_computed_again(
    lakehouse: Lakehouse, cases: list[Case]
) -> None:
    partly = []
    for case in cases:
        if case.run in ("monday", "tuesday"):
            wanted = set(lakehouse.asked(UNDISTURBED[case.run], "first"))
            again = lakehouse.asked(case.database, "again")
            assert set(again) == wanted - case.staged, str(case)
            assert set(again.values()) <= {1}, str(case)
            partly += [case] if 0 < len(case.staged & wanted) < len(wanted) else []
    # Otherwise nobody was killed with a part of the work done, and this test says nothing.
    assert partly
