"""Baselines: what is refused and with which advice, and what they lead to expect of a run."""

import json

import pytest

from enrich.errors import ConfigError
from expectations.baseline import (
    LabelBaseline,
    carry_over,
    expect_like,
    load_baseline,
    refuse_unknown_labels,
    save_baseline,
)
from expectations.counts import CONFIDENCE_EDGES, OTHER, UNKNOWN, CatalogCounts, GroupCounts
from schemas.labels import ABSTAINED

LABELS = {"color": ("red", "blue"), "pattern": ("solid",), "style": ("casual",)}
HISTOGRAM = [0] * (len(CONFIDENCE_EDGES) - 1) + [10]


def group_dict(attribute="color", **labels):
    counted = labels or {"red": 5, "blue": 3, ABSTAINED: 2}
    return {
        "rows": 10,
        "modalities": {"image+text": 9, "text": 1},
        "attributes": {attribute: {"labels": counted, "confidences": HISTOGRAM}},
    }


def baseline_dict(**changes):
    return {
        "catalog": "demo",
        "model_version": "cma-clip-small@1",
        "source": "product_attributes, version 3",
        "products": group_dict(),
        **changes,
    }


def group(rows, **labels):
    """Return the counts of some products whose confidences are all in the highest bin."""
    attributes = {"color": {"labels": labels, "confidences": [*HISTOGRAM[:-1], rows]}}
    modalities = {"image": rows}
    return GroupCounts.model_validate(
        {"rows": rows, "modalities": modalities, "attributes": attributes}
    )


def written(folder, content):
    path = folder / "demo.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_saved_baseline_loads_unchanged_and_reads_well(tmp_path):
    categories = {"Size [ 1, 2 ]": group_dict()}
    baseline = LabelBaseline.model_validate(baseline_dict(categories=categories))
    path = tmp_path / "baselines" / "demo.json"
    save_baseline(baseline, path)
    assert load_baseline(path) == baseline
    lines = path.read_text().splitlines()
    assert [line.split('"')[1] for line in lines[1:4]] == ["catalog", "model_version", "source"]
    histograms = [line for line in lines if "confidences" in line]
    assert len(histograms) == 2
    assert json.loads("{" + histograms[0].rstrip(",") + "}")["confidences"] == HISTOGRAM


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("{not json", "Invalid JSON"),
        (baseline_dict(colour={}), "unknown key 'colour'"),
        (baseline_dict(products=group_dict(red=5)), "labels of color count 5 rows, expected 10"),
        (baseline_dict(products=group_dict(red=-5, blue=15)), "color.labels.red: "),
        (
            baseline_dict(categories={"shoes": group_dict(), OTHER: group_dict()}),
            "categories count 20 rows, expected 10",
        ),
    ],
)
def test_invalid_baseline_is_refused_with_what_was_found(tmp_path, content, finding):
    with pytest.raises(ConfigError) as refused:
        load_baseline(written(tmp_path, content))
    assert finding in str(refused.value)
    assert "demo.json" in str(refused.value)


def test_missing_file_names_the_path_and_the_job_that_builds_it(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json.*catalog-enrich baseline"):
        load_baseline(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"products": group_dict("colour")}, "found 'colour', expected one of color, pattern"),
        ({"products": group_dict(mauve=10)}, "found 'mauve', expected some of red, blue"),
        ({"categories": {"shoes": group_dict(mauve=10)}}, "found 'mauve', expected some of red"),
    ],
)
def test_what_the_checkpoint_cannot_answer_is_refused(tmp_path, changes, finding):
    refuse_unknown_labels(LabelBaseline.model_validate(baseline_dict()), LABELS)
    baseline = load_baseline(written(tmp_path, baseline_dict(**changes)))
    with pytest.raises(ConfigError, match=finding):
        refuse_unknown_labels(baseline, LABELS)


def color_shares(expected):
    return expected.shares(lambda one: one.attributes["color"].labels)


def test_each_category_has_the_weight_that_it_has_in_the_run():
    shoes, hats = group(300, black=300), group(100, black=50, red=50)
    everything = group(400, black=350, red=50)
    catalog = CatalogCounts(products=everything, categories={"shoes": shoes, "hats": hats})
    alone = expect_like(catalog, {"hats": 40}, 100)
    assert color_shares(alone) == {"black": 0.5, "red": 0.5}
    assert alone.rows == pytest.approx(100)
    mixed = expect_like(catalog, {"hats": 20, "shoes": 20}, 100)
    assert color_shares(mixed) == {"black": 0.75, "red": 0.25}
    assert mixed.rows == pytest.approx(1 / (0.25 / 300 + 0.25 / 100))
    assert color_shares(expect_like(catalog, {None: 7}, 100)) == {"black": 0.875, "red": 0.125}


def test_small_and_unknown_categories_are_expected_to_look_like_the_catalog():
    catalog = CatalogCounts(
        products=group(400, black=300, red=100),
        categories={"shoes": group(380, black=300, red=80), "hats": group(20, red=20)},
    )
    for sizes in ({"hats": 50}, {UNKNOWN: 50}, {"hats": 30, UNKNOWN: 20}):
        expected = expect_like(catalog, dict(sizes), 100)
        assert len(expected.parts) == 1
        assert color_shares(expected) == {"black": 0.75, "red": 0.25}


def test_the_share_with_a_label_is_expected_too():
    catalog = CatalogCounts(products=group(100, red=60, **{ABSTAINED: 40}))
    assert expect_like(catalog, {None: 5}, 100).answered("color") == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ([("small-1", ["fabric"])], "shop-3-p90-ab"),
        ([("shop-2", ["fabric"]), ("small-1", ["sleeve"])], "shop-3-p90-ab"),
        ([("small-1", ["color", "fabric"])], "small-1-p90-ab"),
        ([("shop-2", ["fabric"]), ("small-1", ["color"])], "small-1-p90-ab"),
        ([("small-12", ["fabric"])], "small-1-p90-ab"),
        ([], "small-1-p90-ab"),
    ],
)
def test_a_fit_of_other_attributes_leaves_a_baseline_valid(changes, version):
    given = baseline_dict(model_version="small-1-p90-ab")
    baseline = LabelBaseline.model_validate(given)
    carried = carry_over(baseline, "shop-3", changes)
    assert carried.model_version == version
    assert carried.products == baseline.products
