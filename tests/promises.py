"""Fail unless every test that docs/promises.md names ran and passed.

python tests/promises.py build/tests/*.xml
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "promises.md"


def named_tests() -> set[str]:
    """Return the test files and test ids in the tables of the page."""
    rows = (line for line in PAGE.read_text().splitlines() if line.startswith("| "))
    return {test for row in rows for test in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", row)}


def read_outcomes(reports: Iterable[Path]) -> dict[str, bool]:
    """Return by test id, without parameters, whether each of its cases ran and passed."""
    outcomes: dict[str, bool] = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            file = case.get("classname", "").replace(".", "/") + ".py"
            name = f"{file}::{case.get('name', '').partition('[')[0]}"
            has_passed = not any(case.find(kind) is not None for kind in _NOT_PASSED)
            outcomes[name] = outcomes.get(name, True) and has_passed
    return outcomes


_NOT_PASSED = ("failure", "error", "skipped")


def find_broken(named: set[str], outcomes: dict[str, bool]) -> list[str]:
    """Return the named tests of which a case did not run or did not pass."""
    broken = []
    for name in sorted(named):
        of_it = [passed for test, passed in outcomes.items() if test.split("::")[0] == name]
        passed = all(of_it) and bool(of_it) if "::" not in name else outcomes.get(name, False)
        if not passed:
            broken.append(name)
    return broken


if __name__ == "__main__":
    broken = find_broken(named_tests(), read_outcomes(map(Path, sys.argv[1:])))
    for name in broken:
        print(f"promised, and not run or not passed: {name}", file=sys.stderr)
    sys.exit(bool(broken))
