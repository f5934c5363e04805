"""Baselines: what is refused, and that the message says what to do."""

import json
from pathlib import Path

import pytest

from expectations.baseline import (
    ABSTAINED,
    BaselineError,
    LabelBaseline,
    check_baseline_fits,
    load_baseline,
    save_baseline,
    shares_from_counts,
)

LABELS = {"color": ("red", "blue"), "pattern": ("solid",), "style": ("casual",)}


def baseline_dict(**changes: object) -> dict[str, object]:
    return {
        "catalog": "demo",
        "model_version": "cma-clip-small@1",
        "source": "held-out labels",
        "rows": 100,
        "attributes": {"color": {"red": 0.5, "blue": 0.3, ABSTAINED: 0.2}},
        **changes,
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "demo.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_saved_baseline_loads_unchanged(tmp_path: Path) -> None:
    baseline = LabelBaseline.model_validate(baseline_dict(max_divergence=0.5))
    path = tmp_path / "baselines" / "demo.json"
    save_baseline(baseline, path)
    assert load_baseline(path) == baseline


def test_missing_file_names_the_path_and_the_job_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"nowhere\.json.*build_label_baseline"):
        load_baseline(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("{not json", "Invalid JSON"),
        (baseline_dict(colour={}), "colour: Extra inputs"),
        (baseline_dict(rows=0), "rows: "),
        (baseline_dict(max_divergence=0), "max_divergence: "),
        (baseline_dict(attributes={"color": {"red": 0.5}}), "color sum to 0.500, wanted 1"),
        (baseline_dict(attributes={"color": {}}), "color sum to 0.000, wanted 1"),
        (baseline_dict(attributes={"color": {"red": 1.5, "blue": -0.5}}), "'red' has share 1.5"),
        (baseline_dict(attributes={"color": {"red": float("nan")}}), "'red' has share nan"),
    ],
)
def test_invalid_baseline_is_refused_with_what_was_found(
    tmp_path: Path, content: object, finding: str
) -> None:
    with pytest.raises(BaselineError) as refused:
        load_baseline(written(tmp_path, content))
    assert finding in str(refused.value)
    assert "demo.json" in str(refused.value)


def test_shares_may_miss_one_by_rounding(tmp_path: Path) -> None:
    thirds = {"color": {"red": 0.333, "blue": 0.333, ABSTAINED: 0.333}}
    assert load_baseline(written(tmp_path, baseline_dict(attributes=thirds)))


def test_baseline_that_says_less_than_the_checkpoint_fits() -> None:
    check_baseline_fits(LabelBaseline.model_validate(baseline_dict()), LABELS)


def test_attribute_unknown_to_the_checkpoint_is_refused() -> None:
    baseline = LabelBaseline.model_validate(baseline_dict(attributes={"colour": {"red": 1.0}}))
    with pytest.raises(
        BaselineError,
        match="'demo' names attribute 'colour'; the checkpoint has color, pattern, style",
    ):
        check_baseline_fits(baseline, LABELS)


def test_label_unknown_to_the_checkpoint_is_refused() -> None:
    baseline = LabelBaseline.model_validate(baseline_dict(attributes={"color": {"mauve": 1.0}}))
    with pytest.raises(BaselineError, match="names color 'mauve'; the checkpoint has red, blue"):
        check_baseline_fits(baseline, LABELS)


def test_shares_count_abstentions_and_start_with_the_largest() -> None:
    shares = shares_from_counts({"color": {"red": 1, None: 1, "blue": 2}})
    assert list(shares["color"].items()) == [("blue", 0.5), (ABSTAINED, 0.25), ("red", 0.25)]


def test_attribute_without_rows_has_no_shares() -> None:
    with pytest.raises(BaselineError, match="color has no rows"):
        shares_from_counts({"color": {"red": 0}})
