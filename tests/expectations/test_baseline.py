"""Baselines: what is refused, and that the message says what to do."""

import json
from pathlib import Path

import pytest

from expectations.baseline import (
    BaselineError,
    LabelBaseline,
    changed_shares,
    check_baseline_fits,
    choose_baseline,
    load_baseline,
    save_baseline,
)
from expectations.summary import CONFIDENCE_EDGES, OTHER
from schemas.labels import ABSTAINED

LABELS = {"color": ("red", "blue"), "pattern": ("solid",), "style": ("casual",)}
HISTOGRAM = [0] * (len(CONFIDENCE_EDGES) - 1) + [10]


def group_dict(attribute: str = "color", **labels: int) -> dict[str, object]:
    counted = labels or {"red": 5, "blue": 3, ABSTAINED: 2}
    return {
        "rows": 10,
        "modalities": {"image+text": 9, "text": 1},
        "attributes": {attribute: {"labels": counted, "confidences": HISTOGRAM}},
    }


def baseline_dict(**changes: object) -> dict[str, object]:
    return {
        "catalog": "demo",
        "model_version": "cma-clip-small@1",
        "source": "product_attributes, version 3",
        "products": group_dict(),
        **changes,
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "demo.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_saved_baseline_loads_unchanged_and_starts_with_where_it_is_from(tmp_path: Path) -> None:
    baseline = LabelBaseline.model_validate(baseline_dict(categories={OTHER: group_dict()}))
    path = tmp_path / "baselines" / "demo.json"
    save_baseline(baseline, path)
    assert load_baseline(path) == baseline
    lines = path.read_text().splitlines()
    assert [line.split('"')[1] for line in lines[1:4]] == ["catalog", "model_version", "source"]


def test_a_category_is_called_in_the_file_what_it_is_called(tmp_path: Path) -> None:
    baseline = LabelBaseline.model_validate(
        baseline_dict(categories={"Size [ 1, 2 ]": group_dict()})
    )
    save_baseline(baseline, tmp_path / "demo.json")
    assert load_baseline(tmp_path / "demo.json") == baseline


def test_histogram_is_on_one_line_of_the_file(tmp_path: Path) -> None:
    save_baseline(LabelBaseline.model_validate(baseline_dict()), tmp_path / "demo.json")
    (line,) = [x for x in (tmp_path / "demo.json").read_text().splitlines() if "confidences" in x]
    assert json.loads("{" + line.rstrip(",") + "}")["confidences"] == HISTOGRAM


def test_missing_file_names_the_path_and_the_job_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"nowhere\.json.*build_label_baseline"):
        load_baseline(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("{not json", "Invalid JSON"),
        (baseline_dict(colour={}), "colour: Extra inputs"),
        (baseline_dict(products=group_dict() | {"rows": 0}), "products.rows: "),
        (baseline_dict(products=group_dict(red=5)), "labels of color count 5 rows, wanted 10"),
        (baseline_dict(products=group_dict(red=-5, blue=15)), "color.labels.red: "),
        (
            baseline_dict(products=group_dict() | {"modalities": {"text": 3}}),
            "modalities count 3 rows, wanted 10",
        ),
        (
            baseline_dict(categories={"shoes": group_dict(), OTHER: group_dict()}),
            "categories count 20 rows, wanted 10",
        ),
        ({"catalog": "demo", "rows": 10, "attributes": {"color": {"red": 1.0}}}, "products: Field"),
    ],
)
def test_invalid_baseline_is_refused_with_what_was_found(
    tmp_path: Path, content: object, finding: str
) -> None:
    with pytest.raises(BaselineError) as refused:
        load_baseline(written(tmp_path, content))
    assert finding in str(refused.value)
    assert "demo.json" in str(refused.value)


def test_histogram_of_other_bins_is_refused(tmp_path: Path) -> None:
    products = group_dict()
    products["attributes"]["color"]["confidences"] = [10]  # type: ignore[index]
    with pytest.raises(BaselineError, match=f"at least {len(CONFIDENCE_EDGES)} items"):
        load_baseline(written(tmp_path, baseline_dict(products=products)))


def test_histogram_of_more_rows_than_there_are_is_refused(tmp_path: Path) -> None:
    products = group_dict()
    products["attributes"]["color"]["confidences"] = [2 * n for n in HISTOGRAM]  # type: ignore[index]
    with pytest.raises(BaselineError, match="confidences of color count 20 rows, wanted at most"):
        load_baseline(written(tmp_path, baseline_dict(products=products)))


def test_baseline_that_says_less_than_the_checkpoint_fits() -> None:
    check_baseline_fits(LabelBaseline.model_validate(baseline_dict()), LABELS)


def test_attribute_unknown_to_the_checkpoint_is_refused() -> None:
    baseline = LabelBaseline.model_validate(baseline_dict(products=group_dict("colour")))
    with pytest.raises(
        BaselineError,
        match="'demo' names attribute 'colour'; the checkpoint has color, pattern, style",
    ):
        check_baseline_fits(baseline, LABELS)


@pytest.mark.parametrize("where", ["products", "categories"])
def test_label_unknown_to_the_checkpoint_is_refused(where: str) -> None:
    mauve = group_dict(mauve=10)
    changes = {"products": mauve} if where == "products" else {"categories": {"shoes": mauve}}
    baseline = LabelBaseline.model_validate(baseline_dict(**changes))
    with pytest.raises(BaselineError, match="names color 'mauve'; the checkpoint has red, blue"):
        check_baseline_fits(baseline, LABELS)


def test_the_baseline_of_the_catalog_that_is_enriched_is_chosen(tmp_path: Path) -> None:
    baselines = {"shop": tmp_path / "nowhere.json", "demo": written(tmp_path, baseline_dict())}
    chosen = choose_baseline(baselines, "demo", LABELS)
    assert chosen is not None
    assert chosen.label_counts == {"color": {"red": 5, "blue": 3, ABSTAINED: 2}}


def test_a_chosen_baseline_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    baselines = {"demo": written(tmp_path, baseline_dict(products=group_dict("colour")))}
    with pytest.raises(BaselineError, match="names attribute 'colour'"):
        choose_baseline(baselines, "demo", LABELS)


def test_a_catalog_without_a_baseline_is_warned_of_where_others_have_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert choose_baseline({"demo": Path("demo.json")}, "shop", LABELS) is None
    assert caplog.messages == ["no baseline: the settings name 'demo', not 'shop'"]
    caplog.clear()
    assert choose_baseline({}, "shop", LABELS) is None
    assert not caplog.messages


def test_changed_shares_come_with_the_largest_change_first_and_without_small_ones() -> None:
    old = LabelBaseline.model_validate(baseline_dict(products=group_dict(red=5, blue=3, green=2)))
    new = LabelBaseline.model_validate(baseline_dict(products=group_dict(red=1, blue=4, mauve=5)))
    assert changed_shares(old.products, new.products, 0.15) == [
        ("color", "mauve", 0.0, 0.5),
        ("color", "red", 0.5, 0.1),
        ("color", "green", 0.2, 0.0),
    ]


def test_attribute_of_one_baseline_alone_has_no_share_in_the_other() -> None:
    old, new = (
        LabelBaseline.model_validate(baseline_dict(products=group_dict(name, red=10))).products
        for name in ("color", "colour")
    )
    changes = [("color", "red", 1.0, 0.0), ("colour", "red", 0.0, 1.0)]
    assert changed_shares(old, new, 0.5) == changes
