"""bench/inference.py: who takes part, and what it prints; nothing is timed here."""

import json

import pytest
import torch
from job_script import run_job

from bench import inference
from enrich.errors import EnrichError

KEYS = [
    "engine_to_floor",
    "job_to_engine",
    "vs_predict_batch_udf",
    "vs_naive_udf",
    "vs_ray_data",
    "vs_daft",
    "same_arithmetic",
    "runs",
]
SPEEDS = {
    "forward": 90.0,
    "decode": 300.0,
    "engine": 66.0,
    "job": 64.0,
    "predict_batch_udf": 20.0,
    "predict_batch_udf_same_arithmetic": 50.0,
    "naive_udf": 8.0,
    "ray_data": 25.0,
    "ray_data_same_arithmetic": 55.0,
}


@pytest.fixture
def job():
    return inference


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line: exit code, standard output and error."""

    def run(*flags):
        return run_job(inference, *flags), *capsys.readouterr()

    return run


@pytest.fixture
def sides(job, monkeypatch):
    """Sizes of the pictures of all that was measured: nothing is drawn, figures are from nowhere.

    Those of Daft are missing, and the second measurement fails.
    """
    sides: list[int] = []

    def write_shop(folder, products, side_px):
        sides.append(side_px)
        return folder / "products.parquet"

    def measure(*_):
        if len(sides) == 2:
            raise EnrichError("bench.peers.daft ended: see above")
        return {stage: job.Figures(speed, None, 1) for stage, speed in SPEEDS.items()}

    monkeypatch.setattr(job, "write_shop", write_shop)
    monkeypatch.setattr(job, "measure", measure)
    return sides


@pytest.mark.usefixtures("sides")
def test_last_line_has_the_ratios_and_the_raw_figures(run, tmp_path):
    shop = ("--products", 10, "--sizes", 32, "--checkpoint", "bundled")
    code, out, _ = run(*shop, "--folder", tmp_path)
    assert code == 0
    line = json.loads(out.splitlines()[-1])
    assert list(line) == KEYS
    assert (line["vs_naive_udf"], line["vs_daft"]) == (8.0, None)
    same = {"vs_predict_batch_udf": 1.28, "vs_ray_data": 1.164, "vs_daft": None}
    assert line["same_arithmetic"] == same
    assert line["runs"][0]["figures"]["job"]["products_per_second"] == 64.0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--checkpoint", "bundled", "--checkpoint", "gone"), "no folder gone; wanted: bundled, "),
        (("--checkpoint", "bundled", "--checkpoint", "empty"), "is not a checkpoint"),
        (("--sizes", 224, "--sizes", 0), "greater than or equal to 32"),
        (("--sizes", 224, "--sizes", 20_000), "less than or equal to 7071"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    run, sides, tmp_path, monkeypatch, flags, says
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = run("--folder", tmp_path / "bench", *flags)
    assert code == 2
    assert says in " ".join(err.split())
    assert sides == [] and out == ""


def test_figures_are_told_as_they_come_so_that_a_later_failure_takes_none_of_them(
    run, sides, tmp_path
):
    sizes = ("--sizes", 224, "--sizes", 600)
    code, out, err = run("--folder", tmp_path, "--checkpoint", "bundled", *sizes)
    assert code == 1 and "bench.peers.daft ended" in err
    assert sides == [224, 600]
    (line,) = out.splitlines()
    told = json.loads(line)
    assert (told["checkpoint"], told["side_px"]) == ("bundled", 224)
    assert told["figures"]["job"]["products_per_second"] == 64.0


def test_peers_take_part_beside_spark_on_a_cpu(job, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    everybody = job.choose_modules(with_spark=True, with_peers=True)
    assert [one.removeprefix("bench.peers.") for one in everybody[2:]] == list(job.PEERS)
    assert job.choose_modules(with_spark=True, with_peers=False) == everybody[:2]
    assert job.choose_modules(with_spark=False, with_peers=True) == everybody[:1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert job.choose_modules(with_spark=True, with_peers=True) == everybody[:2]
    assert "NOT MEASURED" in capsys.readouterr().err
