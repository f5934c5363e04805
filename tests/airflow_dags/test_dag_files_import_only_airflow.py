"""DAG files run in Airflow's environment, where nothing of ours and no Spark is installed.

Read from their text, so that this needs no Airflow and runs with all other tests.
"""

import ast
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "airflow_dags"
FILES = sorted(DAGS.rglob("*.py"))
ALLOWED = {"airflow", "catalog_tasks", *sys.stdlib_module_names}


def imported_by(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module if node.level == 0 else "relative")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(DAGS)) for file in FILES])
def test_dag_file_imports_only_airflow_and_the_standard_library(file):
    assert imported_by(file) <= ALLOWED


def test_the_dag_files_are_found():
    assert {"catalog_dags.py", "spark_job.py"} <= {file.name for file in FILES}
    assert any("airflow" in imported_by(file) for file in FILES)
