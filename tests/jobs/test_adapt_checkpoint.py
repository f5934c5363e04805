"""jobs/adapt_checkpoint.py: labels of a shop in, a checkpoint for it out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.engine.spec import name_model_version, open_engine
from enrich.files.products import read_products
from enrich.records import Product

from .conftest import SQUARES

Fit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fit(run, squares, tmp_path):
    """Return a function that fits the bundled checkpoint to labels of the squares."""

    def fit(labels, *flags):
        labels.to_csv(tmp_path / "labels.csv", index=False)
        given = ("--catalog", squares / "products.csv", "--corrections", tmp_path / "labels.csv")
        return run(*given, "--output", tmp_path / "fitted", *flags)

    return fit


@pytest.fixture
def colors(squares):
    return pd.read_csv(squares / "colors.csv", dtype=str)


def _colors(checkpoint, shop):
    products = [Product(*row.values()) for row in read_products(shop / "products.csv").to_pylist()]
    engine = open_engine(read_manifest(checkpoint), str(shop))
    return [answer.predictions[0] for answer in engine.enrich(products)]


def test_the_shop_is_answered_in_its_own_words_by_the_checkpoint_that_is_written(
    fit, squares, colors, tmp_path
):
    code, out, _ = fit(colors)
    assert code == 0
    summary = json.loads(out.splitlines()[-1])
    color = summary["attributes"]["color"]
    assert color["adapted"] and not color["thresholds_alone"]
    assert color["after"]["accuracy"] > color["before"]["accuracy"] + 0.2
    assert (summary["products"], summary["not_in_catalog"]) == (SQUARES, 0)

    adapted = tmp_path / "fitted"
    right, before_right = (
        np.mean([one.label for one in _colors(checkpoint, squares)] == colors["color"])
        for checkpoint in (adapted, BUNDLED)
    )
    assert right > 0.9 > before_right
    before, after = read_manifest(BUNDLED), read_manifest(adapted)
    assert after.config.name == f"{before.config.name}-adapted"
    assert name_model_version(after, 0.9) != name_model_version(before, 0.9)
    untouched = before.calibration.corrections | {"color": None}
    assert after.calibration.corrections | {"color": None} == untouched
    assert "color" in after.calibration.corrections
    assert after.calibration.attributes["style"] == before.calibration.attributes["style"]
    metrics = json.loads((adapted / "metrics.json").read_text())
    assert metrics["adaptation"]["attributes"]["color"] == color
    assert "## Adapted to a shop" in (adapted / "MODEL_CARD.md").read_text()

    # Labels that a checkpoint was fitted to are not given to it again.
    styles = pd.DataFrame({"product_id": colors["product_id"].head(9), "style": "casual"})
    for labels, message in (
        (colors, "was fitted to labels of color before"),
        (styles, "style: left as it was, 9 labels are fewer than 50"),
    ):
        code, _, err = fit(labels, "--checkpoint", adapted, "--output", tmp_path / "twice")
        assert code == 2 and message in err
    assert not (tmp_path / "twice").exists()


def test_labels_of_one_value_or_of_mistakes_alone_are_not_fitted_to(fit, colors, tmp_path):
    wrong = colors["color"].map({"orange": "white", "blue": "yellow", "black": "pink"})
    patterns = ["solid", "striped", *[None] * (SQUARES - 2)]
    code, _, err = fit(colors.assign(color=wrong, style="casual", pattern=patterns))
    assert code == 3
    assert "color: left as it was, the classifier is right in 0% of these products" in err
    assert "style: left as it was, all its labels are 'casual'" in err
    assert "pattern: left as it was, 2 labels are fewer than 50" in err
    assert "label products that --suggest draws" in err
    assert not (tmp_path / "fitted").exists()


def test_the_products_to_label_come_as_a_file_to_fill_in(run, squares, tmp_path):
    file, more = tmp_path / "label_me.csv", tmp_path / "more.csv"
    given = ("--catalog", squares / "products.csv", "--suggest", 12)
    code, out, _ = run(*given, "--output", file)
    assert code == 0 and json.loads(out) == {"suggested": 12, "output": str(file)}
    table = pd.read_csv(file, dtype=str)
    assert len(set(table["product_id"])) == 12 and table["color"].isna().all()

    # So few products cannot be fitted to, but somebody has labelled them.
    table.assign(color="petrol").to_csv(tmp_path / "labelled.csv", index=False)
    code, _, _ = run(*given, "--corrections", tmp_path / "labelled.csv", "--output", more)
    assert code == 0
    assert set(table["product_id"]).isdisjoint(pd.read_csv(more, dtype=str)["product_id"])


def test_catalog_columns_and_lists_of_images_may_be_the_settings(run, squares, tmp_path):
    table = pd.read_csv(squares / "products.csv", dtype=str).head(9)
    table["image_path"] = "gone.png|" + table["image_path"]
    names = {"product_id": "sku", "title": "name", "image_path": "images"}
    table.drop(columns="description").rename(columns=names).to_csv(tmp_path / "a.csv", index=False)
    settings = tmp_path / "shop.yaml"
    settings.write_text(
        f"catalog: {tmp_path / 'a.csv'}\nimage_root: {squares}\nimage_lists: {{separator: '|'}}\n"
        "columns: {product_id: sku, title: name, description: null, image_path: images}\n"
    )
    flags = ("--config", settings, "--suggest", 5, "--output", tmp_path / "label_me.csv")
    code, out, _ = run(*flags)
    assert code == 0 and json.loads(out)["suggested"] == 5

    code, _, err = run(*flags[:-1], tmp_path / "other.csv", "--catalog", squares / "products.csv")
    assert code == 2 and "has no column sku, name, images; it has product_id" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to adapt to: give --corrections FILE, or --suggest N"),
        (["--corrections", "few.csv"], "found 0 attributes with 50 readable"),
        (["--corrections", "colors.csv", "--name", "a/b"], "found 'a/b', expected"),
        (["--suggest", 5, "--name", "shop"], "--suggest writes no checkpoint: leave --name out"),
        (["--corrections", "colors.csv", "--image-root", ".."], "not one of 120 images can be"),
    ],
)
def test_a_wrong_set_up_is_one_message_and_exit_code_2(
    run, squares, colors, monkeypatch, flags, message
):
    monkeypatch.chdir(squares)
    colors.head(20).to_csv("few.csv", index=False)
    output = [] if "--output" in flags else ["--output", "out"]
    code, out, err = run("--catalog", "products.csv", *flags, *output)
    assert (code, out) == (2, "") and message in err
    assert not Path("out").exists()
