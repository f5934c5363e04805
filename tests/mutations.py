"""Break the refresh once for each promise, and expect the test that holds the promise to fail.

    python tests/mutations.py [PATTERN]

Each mutation is made in a copy of the checkout. Ends with one JSON line; exit code 1 where a
mutation survived, or does not fit the code any more.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_COPIED = (
    *("enrich", "schemas", "expectations", "demo", "jobs", "bench", "tests", "docs"),
    "pyproject.toml",
)


class Mutation(NamedTuple):
    """A text in a file, what it becomes, and the test that must notice."""

    file: str
    text: str
    becomes: str
    test: str


_REFRESH, _PUBLISH = "tests/spark/test_refresh.py::test_", "tests/spark/test_publish.py::test_"
_ENCODE = "tests/spark/test_encode.py::test_"
MUTATIONS = (
    Mutation(
        "enrich/spark/rules.py",
        " | not_(row.has_same_corrections) | was_unread",
        " | was_unread",
        "tests/unit/test_protocol_model.py::test_promises_hold_after_random_commands",
    ),
    Mutation(
        "enrich/spark/rules.py",
        "        (found.is_newer, Outcome.SUPERSEDED),",
        "",
        _REFRESH + "an_older_run_date_leaves_newer_rows_as_they_are",
    ),
    Mutation(
        "enrich/spark/rules.py",
        "    if is_superseded:\n        return (old.run_id == replaces) & is_newer(new, old)",
        "    if is_superseded:\n        return is_newer(new, old)",
        _PUBLISH + "an_older_run_updates_only_rows_that_it_saw_once_a_newer_one_is_accepted",
    ),
    Mutation(
        "enrich/spark/publish.py",
        "    if not superseded:\n",
        "    if True:\n",
        _PUBLISH + "an_older_run_updates_only_rows_that_it_saw_once_a_newer_one_is_accepted",
    ),
    Mutation(
        "enrich/spark/rules.py",
        "        (found.is_held_back, Outcome.HELD_BACK),",
        "",
        _PUBLISH + "a_rollback_restores_and_holds_back_until_content_changes",
    ),
    Mutation(
        "enrich/spark/rules.py",
        "        return self.state == State.ROLLED_BACK and self.caused_by is None",
        "        return self.state == State.ROLLED_BACK",
        _PUBLISH + "a_rollback_undoes_later_runs_which_return_without_encoding",
    ),
    Mutation(
        "enrich/spark/runs.py",
        '    if int(done["num_inserted_rows"]) < len(events):',
        "    if False:",
        _PUBLISH + "of_two_decisions_about_one_run_the_second_is_refused",
    ),
    Mutation(
        "enrich/spark/runs.py",
        "        elif commit is not None:\n",
        "        elif False:\n",
        _PUBLISH + "an_intent_whose_merge_was_committed_is_completed",
    ),
    Mutation(
        "enrich/spark/refresh.py",
        "        if failures:\n            by_gate",
        "        if False:\n            by_gate",
        _REFRESH + "a_blocked_run_publishes_nothing_and_the_next_encodes_nothing_again",
    ),
    Mutation(
        "enrich/spark/refresh.py",
        "        if error := explain_truncation(",
        "        if False and (error := explain_truncation)(",
        _REFRESH + "a_cut_off_product_table_deletes_nothing",
    ),
    Mutation(
        "enrich/spark/inputs.py",
        "    if superseded or diff.lost_ids or not inputs.config.deletes_missing:",
        "    if superseded or not inputs.config.deletes_missing:",
        _REFRESH + "rows_with_lost_ids_keep_missing_products",
    ),
    Mutation(
        "enrich/spark/encode.py",
        'is_missing = F.col("is_held").isNull()',
        "is_missing = F.lit(True)",
        _ENCODE + "chunks_that_are_done_are_not_encoded_again_after_a_failure",
    ),
    Mutation(
        "enrich/spark/encode.py",
        '        if not asked == row["written"] == row["distinct"]:',
        "        if False:",
        _ENCODE + "rows_that_are_lost_on_the_way_fail_the_run",
    ),
    Mutation(
        "enrich/spark/encode.py",
        "        if len(self.crashed) > most or not most:",
        "        if False:",
        _ENCODE + "many_contents_that_kill_their_worker_fail_the_run",
    ),
    Mutation(
        "enrich/spark/encode.py",
        '        if row["replaced"]:',
        "        if False:",
        _REFRESH + "a_picture_that_is_written_over_unnoticed_is_asked_for_again",
    ),
    Mutation(
        "enrich/spark/tables.py",
        '        if "staged_attributes" in existing:',
        "        if False:",
        _REFRESH + "tables_of_the_first_edition_are_refused_in_one_sentence",
    ),
    Mutation(
        "enrich/spark/answer.py",
        '    new = found.alias("new").join(earlier.alias("old"), is_same, "left_anti").persist()',
        '    new = found.alias("new").persist()',
        _REFRESH + "rows_without_a_usable_id_or_any_text_are_quarantined_once",
    ),
)


def is_noticed(mutation: Mutation) -> bool:
    """Tell whether the mutation's test fails in a copy of the checkout that has the mutation.

    Raises:
        LookupError: the text does not stand in the file exactly once.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        file = copy / mutation.file
        code = file.read_text()
        if code.count(mutation.text) != 1:
            raise LookupError(f"{mutation.file} does not hold once: {mutation.text!r}")
        file.write_text(code.replace(mutation.text, mutation.becomes))
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", mutation.test],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
            capture_output=True,
        )
        # 1: tests failed. Anything else says that the test could not run.
        return ended.returncode == 1


def main(pattern: str) -> int:
    """Try the mutations whose file or test holds the pattern; return the exit code."""
    survived = []
    chosen = [one for one in MUTATIONS if pattern in one.file or pattern in one.test]
    for number, mutation in enumerate(chosen, 1):
        noticed = is_noticed(mutation)
        print(f"{number}/{len(chosen)} {'noticed' if noticed else 'SURVIVED'}: {mutation.test}")
        if not noticed:
            survived.append(mutation.test)
    print(json.dumps({"mutations": len(chosen), "survived": survived}))
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or [""]))
