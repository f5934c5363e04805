"""Commands as users start them, with a metastore and tables of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from own_metastore import derby

JOB = Path(__file__).resolve().parents[2] / "jobs" / "enrich_catalog.py"


@dataclass(frozen=True)
class Ended:
    """How a command ended; spark-submit sends both of Python's streams to standard output."""

    code: int
    output: str
    errors: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.output.splitlines()[-1])


@dataclass(frozen=True)
class Lakehouse:
    """Tables of their own in a folder of their own."""

    folder: Path

    def command(self, program: str, *flags: object) -> list[str]:
        """Returns spark-submit or spark-sql over these tables.

        Without settings of its own, the main job's pages and metrics would go to the checkout.
        """
        if JOB in flags and "--config" not in flags:
            own = self.folder / "settings.yaml"
            own.write_text("report_dir: pages\nmetrics_dir: metrics\n")
            flags = (*flags, "--config", own)
        settings = {
            "spark.sql.warehouse.dir": self.folder / "warehouse",
            **derby(f";databaseName={self.folder}/metastore"),
            "spark.ui.showConsoleProgress": "false",
        }
        conf = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
        return [program, *conf, *map(str, flags)]

    def submit(
        self, *flags: object, environment: Mapping[str, str] | None = None, patience_s: float = 600
    ) -> Ended:
        """Runs spark-submit: `flags` are a job and the job's, after any of Spark's own.

        A job that takes longer than `patience_s` is killed, and fails the test.
        """
        ended = subprocess.run(
            self.command("spark-submit", *flags),
            capture_output=True,
            text=True,
            env=in_venv(**environment or {}),
            timeout=patience_s,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def table(self, database: str, name: str) -> DeltaTable:
        return DeltaTable(str(self.folder / "warehouse" / f"{database}.db" / name))


def in_venv(**more: str) -> dict[str, str]:
    """Returns an environment in which Spark's commands are of these tests' Python, and `more`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}
