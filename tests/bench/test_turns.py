"""What is timed, what is taken off, and what becomes of it."""

import json
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import runner, turns
from bench.ratios import compare, find_worst
from bench.runner import measure as measure_stage
from bench.setup import Setup
from bench.stage import Stage
from bench.turns import Figures, measure

SETUP = Setup(products_file=Path("none"), checkpoint=Path("none"), cores=1, products=1)


def test_start_up_is_taken_off_time_and_products(monkeypatch):
    now = 0.0
    monkeypatch.setattr(runner.time, "perf_counter", lambda: now)

    def start(products, seconds):
        nonlocal now
        now += seconds
        return products

    took = measure_stage(Stage(lambda: start(10, 0.3), start_up=lambda: start(2, 0.2)))
    assert took["products"] == 8
    assert took["seconds"] == pytest.approx(0.1)
    assert took["cpu_seconds"] is None
    assert took["start_up_seconds"] == pytest.approx(0.2)


def test_stage_that_start_up_hides_is_named_and_left_out(monkeypatch):
    took = {"products": 8, "cpu_seconds": None, "start_up_seconds": 9.0, "worker_mb": 1}
    seconds = {"hidden": -0.5, "seen": 0.5}
    peer = SimpleNamespace(
        missing=None,
        stages=list(seconds),
        time=lambda stage: took | {"seconds": seconds[stage]},
        close=lambda: None,
    )
    monkeypatch.setattr(turns, "Runner", lambda *_: peer)
    said: list[str] = []
    figures = measure(["peer"], SETUP, 3, said.append)
    assert list(figures) == ["seen"]
    assert figures["seen"].products_per_second == 16
    assert said == ["NOT MEASURED: hidden, because 1 products are too few beside start-up"]


def test_warming_is_not_timed():
    took = measure_stage(Stage(lambda: 3, warm=lambda: time.sleep(0.2)))
    assert took["products"] == 3
    assert took["seconds"] is not None and took["seconds"] < 0.1
    assert took["cpu_seconds"] is not None


def test_a_stage_after_a_large_one_has_a_peak_of_its_own():
    def hold(mb):
        return len(b"." * (mb * 1_000_000)) // 1_000_000

    small, large, again = (measure_stage(Stage(partial(hold, mb))) for mb in (1, 800, 1))
    peaks = [int(took["worker_mb"] or 0) for took in (small, large, again)]
    assert peaks[1] - peaks[0] > 700
    assert peaks[1] - peaks[2] > 700


def speeds(**stages):
    return {stage: Figures(speed, None, 1) for stage, speed in stages.items()}


def test_ratios_are_above_one_where_ours_is_faster():
    figures = speeds(engine=100, job=90, ray_data=45, ray_data_same_arithmetic=100)
    ratios = compare(figures, 120)
    assert ratios["engine_to_floor"] == 0.833
    assert ratios["job_to_engine"] == 0.9
    assert ratios["vs_ray_data"] == 2.0
    assert ratios["same_arithmetic"]["vs_ray_data"] == 0.9


def test_what_was_not_measured_is_null():
    ratios = json.loads(json.dumps(compare(speeds(engine=100), 120)))
    assert ratios["job_to_engine"] is None
    assert ratios["vs_daft"] is None
    assert set(ratios["same_arithmetic"].values()) == {None}


def test_worst_of_all_runs_counts():
    one = compare(speeds(engine=100, job=90, daft=45), 120)
    other = compare(speeds(engine=100, job=80), 100)
    worst = find_worst([one, other])
    assert worst["engine_to_floor"] == 0.833
    assert worst["job_to_engine"] == 0.8
    assert worst["vs_daft"] == 2.0
    assert worst["vs_ray_data"] is None
