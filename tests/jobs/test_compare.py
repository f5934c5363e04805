"""jobs/compare.py: the bundled checkpoint over a few colored pictures, and what is refused."""

import re
import shutil

import pytest
from colored_shop import write_colored_shop

from enrich.classifiers.manifest import BUNDLED


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "colored"
    write_colored_shop(folder, 40)
    return folder


def test_a_page_compares_two_checkpoints(source, tmp_path, run):
    second = tmp_path / "second"
    shutil.copytree(BUNDLED, second)
    checkpoints = ["--checkpoint", BUNDLED, "--checkpoint", second]
    data = ["--catalog", source, "--unseen-source", source, "--limit", 30]
    page = tmp_path / "report" / "page.md"
    code, _, _ = run(*checkpoints, *data, "--output", page)
    assert code == 0
    told = page.read_text()
    assert "colored, test groups" in told and "colored, all products, silent" in told
    # The same weights: no difference anywhere. Words alone are a row of every comparison.
    (difference,) = re.findall(r"color: share right, less .+?\n\n(.+?)\n\n", told, re.DOTALL)
    assert "| lexicon |" in difference
    cells = difference.splitlines()[3].split(" | ")[1:]
    assert cells and all(cell.startswith("+0.000") and "*" not in cell for cell in cells)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--checkpoint", BUNDLED, "--checkpoint", "gone"], "gone"),
        (["--checkpoint", BUNDLED], "a source is missing"),
    ],
)
def test_what_cannot_be_compared_is_refused(flags, said, source, tmp_path, run):
    data = ["--catalog", source] if "gone" in flags else []
    code, _, err = run(*flags, *data, "--output", tmp_path / "report" / "page.md")
    assert code == 2 and said in " ".join(err.split())
    assert not (tmp_path / "report").exists()
