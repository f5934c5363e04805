"""jobs/evaluate_classifiers.py: the bundled checkpoint over a few colored pictures."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from colored_shop import write_colored_shop
from job_script import Run
from PIL import Image

from enrich.classifiers.manifest import BUNDLED


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "colored"
    write_colored_shop(folder, 40)
    return folder


def test_report_of_two_checkpoints_is_printed_and_written(
    source: Path, tmp_path: Path, run: Run
) -> None:
    second = tmp_path / "second"
    shutil.copytree(BUNDLED, second)
    checkpoints = ["--checkpoint", BUNDLED, "--checkpoint", second]
    data = ["--catalog", source, "--unseen-source", source, "--limit", 12, "--bootstrap", 20]
    folders = ["--output", tmp_path / "report", "--cache", tmp_path / "cache"]
    code, out, _ = run(*checkpoints, *data, *folders)
    assert code == 0
    report = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert {record["source"] for record in report["figures"]} == {
        "colored, test groups",
        "colored, all products",
    }
    # The same weights: no difference anywhere.
    assert report["differences"]
    assert {record["accuracy"] for record in report["differences"]} == {0}
    markdown = (tmp_path / "report" / "comparison.md").read_text()
    for shown in (out, markdown):
        assert "cma-clip-small" in shown and "second" in shown
    with Image.open(tmp_path / "report" / "plots" / "overview.png") as image:
        assert image.format == "PNG"
    assert any((tmp_path / "cache").glob("images-*/pixels.npy"))


def test_a_checkpoint_that_cannot_be_loaded_stops_the_run_before_any_work(
    source: Path, tmp_path: Path, run: Run
) -> None:
    flags = ["--checkpoint", BUNDLED, "--checkpoint", tmp_path / "gone"]
    code, _, err = run(*flags, "--catalog", source, "--output", tmp_path / "report")
    assert code == 2 and str(tmp_path / "gone") in err
    assert not (tmp_path / "report").exists()


def test_a_run_without_products_says_what_to_give(tmp_path: Path, run: Run) -> None:
    code, _, err = run("--output", tmp_path / "report")
    assert code == 2 and "--unseen-source" in err


def test_an_installation_without_the_extra_is_told_so(
    source: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run("--catalog", source, "--output", tmp_path / "report")
    assert code == 2 and "jobs.set_up train" in " ".join(err.split())
