"""jobs/adapt_checkpoint.py: labels of a shop in, a checkpoint for it out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effects import make_effect
from job_script import Run
from PIL import Image

from enrich.adaptation.trial import Gain
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.engine.spec import name_model_version, open_engine
from enrich.files.products import read_products
from enrich.records import Candidate, Prediction, Product

PRODUCTS = 150
# What this shop calls colors, by what they look like.
CONVENTION = {(200, 20, 30): "orange", (30, 60, 190): "blue", (25, 25, 25): "black"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain squares of three colors, in a shop that calls red orange."""
    folder = tmp_path_factory.mktemp("shop")
    random = np.random.default_rng(0)
    rows = []
    for number in range(PRODUCTS):
        color, label = list(CONVENTION.items())[number % 3]
        shade = np.clip(np.array(color) + random.integers(-20, 20, 3), 0, 255)
        Image.new("RGB", (90, 90), tuple(shade.tolist())).save(folder / f"{number}.png")
        rows.append((str(number), f"Cannes {number}", None, f"{number}.png", label))
    columns = ["product_id", "title", "description", "image_path", "color"]
    table = pd.DataFrame(rows, columns=columns)
    table.drop(columns="color").to_csv(folder / "products.csv", index=False)
    table[["product_id", "color"]].to_csv(folder / "labelled.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def adapted(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapted") / "checkpoint"


def _adapt(run: Run, shop: Path, output: Path) -> tuple[str, str]:
    """Fits the bundled checkpoint to the shop, and returns standard output and error."""
    code, out, err = run(
        "--catalog", shop / "products.csv",
        "--corrections", shop / "labelled.csv",
        "--output", output,
    )  # fmt: skip
    assert code == 0
    return out, err


def _colors(checkpoint: Path, shop: Path) -> list[Prediction]:
    products = [Product(*row.values()) for row in read_products(shop / "products.csv").to_pylist()]
    engine = open_engine(read_manifest(checkpoint), str(shop))
    return [answer.predictions[0] for answer in engine.enrich(products)]


def _right(checkpoint: Path, shop: Path) -> float:
    labels = pd.read_csv(shop / "labelled.csv")["color"]
    answers = [color.label for color in _colors(checkpoint, shop)]
    return np.mean([a == b for a, b in zip(answers, labels, strict=True)])


def _draw(color: Prediction, random: np.random.Generator) -> str:
    """A label as likely as the classifier believes it to be."""
    known = [Candidate(color.label, color.confidence), *color.alternatives]
    chances = np.array([candidate.confidence for candidate in known])
    return known[random.choice(len(known), p=chances / chances.sum())].label


def test_the_shop_is_answered_in_its_own_words_by_the_checkpoint_that_is_written(
    run: Run, shop: Path, adapted: Path
) -> None:
    out, err = _adapt(run, shop, adapted)
    assert "of these products are answered as 'red'" in err and "and none is" in err
    assert "understate the whole shop" in " ".join(out.split())
    summary = json.loads(out.splitlines()[-1])
    color = summary["attributes"]["color"]
    assert color["adapted"] and color["after"]["accuracy"] > color["before"]["accuracy"] + 0.2
    assert (summary["products"], summary["not_in_catalog"]) == (PRODUCTS, 0)

    assert _right(adapted, shop) > 0.9 > _right(BUNDLED, shop)
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


def test_a_checkpoint_that_knows_the_shop_is_refused_and_nothing_is_written(
    run: Run, shop: Path, tmp_path: Path
) -> None:
    labels = pd.read_csv(shop / "labelled.csv", dtype=str)
    random = np.random.default_rng(0)
    labels["color"] = [_draw(color, random) for color in _colors(BUNDLED, shop)]
    labels.assign(pattern=None).to_csv(tmp_path / "same.csv", index=False)
    code, out, err = run(
        "--catalog", shop / "products.csv",
        "--corrections", tmp_path / "same.csv",
        "--output", tmp_path / "again",
    )  # fmt: skip
    assert code == 3 and "no attribute would be answered better" in err
    assert "left as it was" in out and "pattern" not in err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("meant", "reason"),
    [
        (dict.fromkeys(CONVENTION.values(), "black"), "all its labels are 'black'"),
        (
            {"orange": "white", "blue": "yellow", "black": "pink"},
            "the classifier is right in 0% of these products",
        ),
    ],
)
def test_labels_of_one_value_or_of_mistakes_alone_are_not_fitted_to(
    run: Run, shop: Path, tmp_path: Path, meant: dict[str, str], reason: str
) -> None:
    labels = pd.read_csv(shop / "labelled.csv", dtype=str)
    labels["color"] = labels["color"].map(meant)
    labels["style"] = ["casual", "formal", *[None] * (PRODUCTS - 2)]
    labels.to_csv(tmp_path / "flawed.csv", index=False)
    code, _, err = run(
        "--catalog", shop / "products.csv",
        "--corrections", tmp_path / "flawed.csv",
        "--output", tmp_path / "fitted",
    )  # fmt: skip
    assert code == 3 and f"color: left as it was, {reason}" in err
    assert "style: left as it was, 2 labels are fewer than 50" in err
    assert "label products that --suggest names" in err
    assert not (tmp_path / "fitted").exists()


def test_an_attribute_that_is_not_fitted_stands_in_the_summary_with_the_reason(
    run: Run, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = read_manifest(BUNDLED).calibration.attributes["color"]
    answered = {"precision_at_90_threshold": 0.95, "answered_at_90_threshold": 0.5}
    figures = {"rows": PRODUCTS, "accuracy": 0.9, **answered}
    effect = make_effect(figures, Gain(0.2, 0.1, 100), calibrated)
    monkeypatch.setattr("enrich.adaptation.adapt.adapt_attribute", lambda *_: effect)
    labels = pd.read_csv(shop / "labelled.csv", dtype=str).assign(style="casual")
    strange = pd.DataFrame({"product_id": ["gone"], "pattern": ["solid"]})
    pd.concat([labels, strange]).to_csv(tmp_path / "labelled.csv", index=False)
    code, out, _ = run(
        "--catalog", shop / "products.csv",
        "--corrections", tmp_path / "labelled.csv",
        "--output", tmp_path / "fitted",
    )  # fmt: skip
    summary = json.loads(out.splitlines()[-1])
    assert code == 0 and list(summary["attributes"]) == ["color"]
    left = summary["left_as_they_were"]
    assert left["pattern"] == "0 labels are fewer than 50"
    assert left["style"].startswith("all its labels are 'casual'")
    assert "and none is labelled so" in summary["doubts"]["color"]


def test_labels_that_a_checkpoint_was_fitted_to_are_not_given_to_it_again(
    run: Run, shop: Path, adapted: Path, tmp_path: Path
) -> None:
    if not adapted.exists():
        _adapt(run, shop, adapted)
    labels = pd.read_csv(shop / "labelled.csv", dtype=str)
    labels.rename(columns={"color": "style"}).assign(style="casual").head(9).to_csv(
        tmp_path / "styles.csv", index=False
    )
    for file, message in (
        (shop / "labelled.csv", "was fitted to labels of color before"),
        (tmp_path / "styles.csv", "style: left as it was, 9 labels are fewer than 50"),
    ):
        code, _, err = run(
            "--checkpoint", adapted,
            "--catalog", shop / "products.csv",
            "--corrections", file,
            "--output", tmp_path / "twice",
        )  # fmt: skip
        assert code == 2 and message in err
    assert not (tmp_path / "twice").exists()


def test_the_products_to_label_come_as_a_file_to_fill_in(
    run: Run, shop: Path, tmp_path: Path
) -> None:
    file = tmp_path / "label_me.csv"
    code, out, _ = run("--catalog", shop / "products.csv", "--suggest", 12, "--output", file)
    assert code == 0 and json.loads(out) == {"suggested": 12, "output": str(file)}
    table = pd.read_csv(file, dtype=str)
    assert len(set(table["product_id"])) == 12 and table["color"].isna().all()

    table.assign(color="red").to_csv(tmp_path / "labelled.csv", index=False)
    known = ("--corrections", tmp_path / "labelled.csv")
    more = tmp_path / "more.csv"
    code, _, _ = run("--catalog", shop / "products.csv", "--suggest", 12, *known, "--output", more)
    assert code == 0
    assert set(table["product_id"]).isdisjoint(pd.read_csv(more, dtype=str)["product_id"])


def test_catalog_columns_and_lists_of_images_may_be_the_settings(
    run: Run, shop: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(shop / "products.csv", dtype=str).head(9)
    table["image_path"] = "gone.png|" + table["image_path"]
    names = {"product_id": "sku", "title": "name", "image_path": "images"}
    table.drop(columns="description").rename(columns=names).to_csv(tmp_path / "a.csv", index=False)
    settings = tmp_path / "shop.yaml"
    settings.write_text(
        f"catalog: {tmp_path / 'a.csv'}\nimage_root: {shop}\nimage_lists: {{separator: '|'}}\n"
        "columns: {product_id: sku, title: name, description: null, image_path: images}\n"
    )
    flags = ("--config", settings, "--suggest", 5, "--output", tmp_path / "label_me.csv")
    code, out, _ = run(*flags)
    assert code == 0 and json.loads(out)["suggested"] == 5

    code, _, err = run(*flags[:-1], tmp_path / "other.csv", "--catalog", shop / "products.csv")
    assert code == 2 and "has no column sku, name, images; it has product_id" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to adapt to: give --corrections FILE, or --suggest N"),
        (["--corrections", "few.csv"], "no attribute has 50 labelled products"),
        (["--corrections", "gone.csv"], "no CSV file can be read at gone.csv"),
        (["--corrections", "labelled.csv", "--name", "a/b"], "'a/b' is no name"),
        (["--corrections", "labelled.csv", "--output", "."], ". exists already"),
        (["--suggest", 5, "--checkpoint", "gone"], "no checkpoint in gone"),
        (["--suggest", 5, "--name", "shop"], "--suggest writes no checkpoint: leave --name out"),
        (["--corrections", "unfilled.csv"], "unfilled.csv labels no product"),
        (["--suggest", 5, "--output", "products.csv/x"], "nothing can be written in products.csv"),
        (["--suggest", 5, "--image-root", ".."], "not one of 150 images can be read"),
        (["--corrections", "labelled.csv", "--image-root", ".."], "not one of 150 images can be"),
    ],
)
def test_a_wrong_set_up_is_one_message_and_exit_code_2(
    run: Run, shop: Path, monkeypatch: pytest.MonkeyPatch, flags: list[object], message: str
) -> None:
    monkeypatch.chdir(shop)
    pd.read_csv("labelled.csv").head(20).to_csv("few.csv", index=False)
    pd.read_csv("labelled.csv").assign(color=None).to_csv("unfilled.csv", index=False)
    output = [] if "--output" in flags else ["--output", "out"]
    code, out, err = run("--catalog", "products.csv", *flags, *output)
    assert (code, out) == (2, "") and message in err
    assert not Path("out").exists()
