"""bench/gate.py: sound runs pass, broken ones do not, and the last line is one JSON object."""

import json
import sys

import numpy as np
import pytest
import torch
from drawn_answers import LABELS, join, make_answers
from PIL import Image

from bench import gate
from bench.gate_answers import BASELINE, RUN, Case, build_engine, read_answers
from bench.gate_runs import (
    PART,
    build_baseline,
    inject_faults,
    measure_detection,
    measure_false_alarms,
    measure_false_alarms_by_category,
)
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.cli import run_command
from enrich.config import JobConfig
from enrich.engine.spec import build_spec
from enrich.records import Product
from expectations.settings import ValidationSettings

SETTINGS = ValidationSettings()


def test_kept_answers_are_of_all_cases_and_products():
    kept = read_answers()
    assert {case: len(rows) for case, rows in kept.items()} == {
        case: RUN + BASELINE if case is Case.SOUND else RUN for case in Case
    }
    sound = kept[Case.SOUND]
    assert sound["color_confidence"].between(0, 1).all()
    is_given = sound["color"].notna()
    assert 0.5 < is_given.mean() < 1
    assert (sound["color"] == sound["color_best"])[is_given].all()
    assert (kept[Case.IMAGES_MISSING]["modalities"] == "text").all()


def test_sound_runs_pass_and_a_strict_gate_blocks_them():
    sound = join(make_answers(400, category="shoes"), make_answers(200, seed=1, category="hats"))
    assert measure_false_alarms(sound, 100, 300, 5, SETTINGS) == 0
    assert measure_false_alarms_by_category(sound, 60, 300, 4, SETTINGS) == 0
    strict = ValidationSettings(max_label_shift=0, max_confidence_shift=0, false_alarm_rate=0.999)
    assert measure_false_alarms(sound, 100, 300, 10, strict) > 0


def test_faults_are_found_and_a_part_of_them_is_of_as_many_answers():
    sound, baseline = make_answers(2_000), build_baseline(make_answers(3_000, seed=1))
    cases = inject_faults({Case.SOUND: sound.rows, Case.IMAGES_MISSING: sound.rows}, 2_000)
    for attribute in LABELS:
        assert {f"{attribute} stuck", f"{attribute} permuted"} <= set(cases)
    parts = [name for name in cases if name.endswith("in 15%") and "lost" in name]
    assert parts == ["color lost in 15%", "style lost in 15%"]
    lost = cases["color lost in 15%"].rows["color"].isna() & sound.rows["color"].notna()
    assert lost.mean() == pytest.approx(PART)
    del cases["images_missing"], cases["images_missing in 15%"]
    for name, case in cases.items():
        assert measure_detection(case, 1_500, baseline, 2, SETTINGS) == 1, name


def test_benchmark_fails_by_one_fault_that_is_not_found_and_by_false_alarms():
    found = {"images_missing": {40: 0.1, 500: 1.0}}
    assert gate.is_good(0.0, found)
    assert gate.is_good(0.0, found | {"old_checkpoint": {500: 0.5}})
    assert not gate.is_good(0.0, found | {"swapped_channels": {500: 0.9}})
    assert not gate.is_good(0.5, found)


def test_faults_are_in_the_pixels_that_the_classifier_sees(tmp_path):
    Image.new("RGB", (80, 80), "red").save(tmp_path / "red.png")
    manifest = read_manifest(BUNDLED)
    spec = build_spec(JobConfig(), manifest, str(tmp_path))
    product = Product("1", "a shirt", image_path="red.png")
    prepared = {
        case: build_engine(spec, manifest, case, torch.device("cpu")).prepare(product)
        for case in (Case.SOUND, Case.SWAPPED_CHANNELS, Case.IMAGES_MISSING)
    }
    sound, swapped = (prepared[case].pixels for case in (Case.SOUND, Case.SWAPPED_CHANNELS))
    assert sound is not None and swapped is not None
    assert np.array_equal(sound, swapped[::-1]) and not np.array_equal(sound, swapped)
    assert prepared[Case.IMAGES_MISSING].pixels is None


@pytest.mark.spark
@pytest.mark.long
def test_a_small_benchmark_ends_with_one_json_object(spark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gate", "--runs", "8", "--faulty-runs", "3"])
    with pytest.raises(SystemExit) as ended:
        run_command(gate.main)
    out = capsys.readouterr().out
    assert ended.value.code == 0, out
    summary = json.loads(out.splitlines()[-1])
    assert (summary["runs"], summary["false_alarm_rate"]) == (8, 0)
    assert summary["detected"]["swapped_channels"]["5000"] == 1
    rows = [line.split("\u2502") for line in out.splitlines() if line.count("\u2502") == 4]
    told = {row[1].strip(): [cell.strip() for cell in row[2:4]] for row in rows}
    assert told["sound"] == ["no", "yes"]
    assert told["answers_of_others"] == ["yes", "yes"]
