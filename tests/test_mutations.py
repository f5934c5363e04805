"""The mutations of `make test-mutations` fit the code of today."""

import runpy
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
MUTATIONS = runpy.run_path(str(PROJECT / "tests" / "mutations.py"))["MUTATIONS"]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.test.rpartition("::")[2])
def test_a_mutation_names_a_text_and_a_test_that_are_there(mutation):
    file, text, _, test = mutation
    assert (PROJECT / file).read_text().count(text) == 1
    module, _, name = test.partition("::")
    assert f"def {name}(" in (PROJECT / module).read_text()
