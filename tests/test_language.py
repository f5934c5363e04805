"""Mechanical rules of docstrings, in the packages that hold them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELD = ("enrich", "expectations", "schemas", "airflow_dags", "jobs")
MODULES = [file for name in HELD for file in (ROOT / name).rglob("*.py")]
LONGEST = 80
_NO_PHRASE = re.compile(r"(What|Which|How|Whether|Tells|Returns)\b")


@pytest.mark.parametrize("file", MODULES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_docstring_starts_with_a_phrase_of_at_most_80_characters(file):
    tree = ast.parse(file.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    told = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    first = [text.splitlines()[0] for text in told if text]
    assert first, "a module says what it is"
    assert [line for line in first if len(line) > LONGEST or _NO_PHRASE.match(line)] == []
