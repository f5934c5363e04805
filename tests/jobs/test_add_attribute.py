"""jobs/add_attribute.py: labels of a new attribute in, a checkpoint that answers it out."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.engine.spec import build_spec, open_engine
from enrich.files.products import read_catalog
from enrich.images.store import ImageStore

from .conftest import SQUARES, TONES


def predict(checkpoint, shop, attribute):
    products = read_catalog(shop / "products.csv").products.values()
    engine = open_engine(read_manifest(checkpoint), str(shop))
    return [
        one
        for answer in engine.enrich(products)
        for one in answer.predictions
        if one.attribute == attribute
    ]


def test_a_new_attribute_is_answered_and_all_others_as_before(run, squares, tmp_path):
    labels, output = squares / "tones.csv", tmp_path / "toned"
    given = ("--name", "tone", "--labels", labels, "--catalog", squares / "products.csv")
    code, out, err = run(*given, "--output", output)

    assert code == 0 and "odd (3)" in err
    summary = json.loads(out.splitlines()[-1])
    assert summary["left_out"] == {"odd": 3} and summary["products"] == SQUARES - 3
    assert set(summary["labels"]) == set(TONES)
    assert summary["after"]["accuracy"] > 0.9 > summary["before"]["accuracy"]
    outlook = summary["outlook"]
    assert outlook["labels"] == SQUARES - 3
    assert outlook["at_half"] > 0.5 and 0.9 < outlook["at_twice"] <= 1
    before, after = read_manifest(BUNDLED), read_manifest(output)
    assert after.digests.encoder == before.digests.encoder, "no picture is encoded again"
    found = predict(output, squares, "tone")
    wanted = pd.read_csv(labels)["tone"].replace("odd", None)
    assert np.mean([one.label == tone for one, tone in zip(found, wanted, strict=True)]) > 0.9
    assert sum(not one.abstained for one in found) > SQUARES / 2
    for attribute in before.config.attributes:
        assert predict(output, squares, attribute) == predict(BUNDLED, squares, attribute)

    code, _, err = run(*given, "--checkpoint", output, "--output", tmp_path / "again")
    assert code == 2 and "was fitted to labels of tone before" in err


@pytest.mark.spark
def test_no_picture_is_opened_of_what_a_run_has_encoded(run, squares, shop, tmp_path, monkeypatch):
    shutil.copytree(squares, shop.folder, dirs_exist_ok=True)
    shop.file = shop.folder / "products.csv"
    for picture in shop.folder.glob("*.png"):
        os.utime(picture, (1e9, 1e9))
    shop.refresh(spec=build_spec(JobConfig(), read_manifest(BUNDLED), str(shop.folder)))
    opened, read = list[str | None](), ImageStore.read
    monkeypatch.setattr(
        ImageStore, "read", lambda store, path: opened.append(path) or read(store, path)
    )
    warehouse = Path(shop.spark.conf.get("spark.sql.warehouse.dir"))
    given = ("--name", "tone", "--labels", squares / "tones.csv", "--catalog", shop.file)
    tables = ("--database", warehouse / f"{shop.database}.db")

    code, out, err = run(*given, *tables, "--output", tmp_path / "stored")

    assert code == 0 and not opened
    assert f"{SQUARES - 3} encodings of the database, 0 pictures opened" in err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["from_database"], summary["images_opened"]) == (SQUARES - 3, 0)
    code, _, err = run(*given, "--output", tmp_path / "read")
    assert code == 0 and len(opened) == SQUARES - 3
    stored, from_pictures = (read_manifest(tmp_path / name) for name in ("stored", "read"))
    assert stored.digests == from_pictures.digests

    opened.clear()
    os.utime(shop.folder / "5.png", (2e9, 2e9))
    code, _, err = run(*given, *tables, "--output", tmp_path / "changed")
    assert code == 0 and opened == ["5.png"]
    assert f"{SQUARES - 4} encodings of the database, 1 pictures opened" in err


def test_a_new_label_of_a_known_attribute_is_answered(run, squares, tmp_path):
    colors = {"warm": "red", "cold": "petrol", "dark": "black", "odd": "red"}
    labels = pd.read_csv(squares / "tones.csv", dtype=str)
    labels = labels.assign(color=labels["tone"].map(colors)).drop(columns="tone")
    labels.to_csv(tmp_path / "colors.csv", index=False)
    output = tmp_path / "petrol"
    settings = tmp_path / "shop.yaml"
    settings.write_text(f"catalog: {squares}\ncolumns: {{description: null}}\n")
    given = ("--labels", tmp_path / "colors.csv", "--config", settings)
    code, out, _ = run("--name", "color", *given, "--output", output)

    assert code == 0
    assert json.loads(out.splitlines()[-1])["labels"][-1] == "petrol"
    found = [one.label for one in predict(output, squares, "color")]
    wanted = labels["color"]
    assert np.mean([a == b for a, b in zip(found, wanted, strict=True)]) > 0.9
    assert predict(output, squares, "pattern") == predict(BUNDLED, squares, "pattern")


def test_names_alone_make_guesses_that_nobody_publishes(run, squares, tmp_path):
    output = tmp_path / "named"
    code, out, _ = run("--name", "tone", "--values", "warm, cold,dark", "--output", output)
    assert code == 0 and json.loads(out.splitlines()[-1])["labels"] == [*TONES]
    found = predict(output, squares, "tone")
    named = [one for number, one in enumerate(found) if number % 9 < 3]
    assert [one.label for one in named] == [one.named for one in named] == [*TONES] * 14
    assert all(one.abstained for one in found)


def test_labels_by_chance_are_refused_and_nothing_is_written(run, squares, tmp_path):
    labels = pd.read_csv(squares / "tones.csv", dtype=str)
    random = np.random.default_rng(0)
    labels["tone"] = random.choice([*TONES], SQUARES)
    labels.to_csv(tmp_path / "chance.csv", index=False)
    given = ("--labels", tmp_path / "chance.csv", "--catalog", squares / "products.csv")
    code, _, err = run("--name", "tone", *given, "--output", tmp_path / "chance")
    assert code == 3 and "nothing is written" in err
    assert not (tmp_path / "chance").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--name", "tone", "--labels", "a.csv"), "Give --catalog, or --config"),
        (("--name", "tone", "--values", "a,b", "--labels", "a.csv"), "give either"),
        (("--name", "tone", "--values", "warm"), "too few labels"),
        (("--name", "run_id", "--values", "a,b"), "expected another name"),
        (("--name", "tone", "--values", "warm,other"), "reserved"),
    ],
)
def test_what_makes_no_attribute_is_refused(run, tmp_path, flags, said):
    code, _, err = run(*flags, "--output", tmp_path / "none")
    assert code == 2 and said in err


def test_a_database_without_encodings_is_refused_where_a_flag_names_it(run, squares, tmp_path):
    given = ("--labels", squares / "tones.csv", "--catalog", squares / "products.csv")
    database = ("--database", tmp_path / "nowhere")
    code, _, err = run("--name", "tone", *given, *database, "--output", tmp_path / "none")
    assert code == 2 and "no stored encodings" in err
