"""From unsure answers to a page, to keys, to a file, to corrections, to the next run."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import open_tab
from job_script import load_job, run_job
from PIL import Image
from shop import products

from bench.fake_engine import FakeEngineSpec
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.files.labels import read_labels
from schemas.labels import RESERVED

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark")]

ATTRIBUTES = FakeEngineSpec().attributes
# Of a fifth of all answers the fake engine is unsure.
PRODUCTS = 120


def publish_pictures(shop):
    """Publish products with a picture each."""
    table = products(PRODUCTS)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    for product_id in table["product_id"]:
        Image.fromarray(pixels).save(shop.folder / f"{product_id}.jpg")
    shop.write(table.assign(image_path=table["product_id"] + ".jpg"))
    shop.refresh()


@pytest.fixture
def shop(open_shop):
    return open_shop(publish_pictures)


def test_labels_that_were_given_by_keys_are_what_the_next_run_publishes(run, shop, tmp_path):
    before = shop.table("product_attributes").set_index("product_id")
    corrected = before.index[before["color"].isna()][0]
    shop.correct(corrected, "color", "red")
    page = tmp_path / "review.html"
    flags = ("--catalog", shop.file, "--database", shop.database, "--output", page)

    code, said, error = run("--what", "unsure", "--n", 30, *flags)

    assert code == 0, error
    assert "30 questions" in said
    strokes = 0
    with open_tab(tmp_path / "profile") as tab:
        tab.open(page, downloads=tmp_path)
        while (done := tab.text("done")) != "30 of 30":
            number = int(done.split()[0])
            keys = {3: ("n",), 7: ("x",), 11: ("2",), 19: ("r", "Enter")}.get(number, ("1",))
            if number == 19 and tab.text("attribute") == "pattern":
                keys = ("l", "Enter")
            tab.press(*keys)
            strokes += len(keys)
            if number == 14:
                tab.reload()
        file = tab.download("#end [data-do=save]", tmp_path)
    assert strokes <= 1.2 * 30
    importing = load_job("import_corrections")
    assert run_job(importing, "--file", file, "--by", "ana", "--database", shop.database) == 0
    summary = shop.refresh()

    given = read_labels(file, read_manifest(BUNDLED).config.attributes)
    assert len(given) == 30
    assert (corrected, "color") not in set(
        zip(given["product_id"], given["attribute"], strict=True)
    )
    expected = before.copy()
    expected.loc[corrected, "color"] = "red"
    for row in given.itertuples():
        is_label = row.label not in RESERVED
        expected.loc[row.product_id, row.attribute] = row.label if is_label else None
    after, names = shop.table("product_attributes").set_index("product_id"), [*ATTRIBUTES]
    published = after.index[after["run_id"] == summary.run_id]
    assert {*published} == {*given["product_id"], corrected}
    pd.testing.assert_frame_equal(after[names].sort_index(), expected[names].sort_index())


def test_a_run_that_is_not_there_is_named(run, shop, tmp_path):
    flags = ("--catalog", shop.file, "--database", shop.database, "--run-id", "typo")
    code, _, error = run("--what", "unsure", *flags, "--output", tmp_path / "review.html")
    assert code == 2 and "No run 'typo'" in error


def test_an_audit_s_page_is_a_draw_whose_labels_the_audit_takes(run, shop, tmp_path, capsys):
    page, file = tmp_path / "audit.html", tmp_path / "labels.csv"
    # Of the product table that was published, not of the demo's.
    flags = ("--database", shop.database, "--output", page)

    code, said, error = run("--what", "audit", "--n", 20, *flags)

    assert code == 0 and "40 questions" in said, error
    code, _, error = run("--what", "audit", *flags)
    assert code == 2 and "audit.html" in error, "nothing is drawn for a page that is there"
    drawn = shop.table("audit_answers").set_index(["product_id", "attribute"])
    data = re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)
    asked = json.loads(data[1])["questions"]
    assert {(one["product_id"], one["attribute"]) for one in asked} == {*drawn.index}
    assert not any(one["best"] or one["abstained"] for one in asked), "blind"
    # Everything as published, by somebody who skips the last five.
    labels = drawn["published_label"].rename("label").reset_index()[:-5]
    labels.to_csv(file, index=False)
    audit = load_job("audit")
    assert run_job(audit, "--labels", file, "--database", shop.database) == 0
    taken = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (taken["new"], taken["unlabelled"]) == (35, 5)


@pytest.mark.parametrize(
    ("flags", "listed"),
    [
        (("--what", "doubtful"), "audit, unsure, contradictions, attribute:NAME"),
        (("--what", "attribute"), "attribute:NAME"),
        (("--what", "attribute:colour"), "color, pattern, style"),
        (("--what", "unsure", "--from", "audit.csv"), "--what audit"),
        (("--what", "audit", "--from", "audit.csv", "--n", 3), "without --n"),
        (("--what", "audit", "--from", "audit.csv"), "colour"),
        (("--what", "audit", "--run-id", "7"), "no effect"),
    ],
)
def test_wrong_flags_and_samples_are_refused_with_what_there_is(
    run, tmp_path, monkeypatch, flags, listed
):
    monkeypatch.chdir(tmp_path)
    Path("audit.csv").write_text("product_id,attribute,title,image_path\n1,colour,a,b\n")
    code, _, error = run(*flags, "--output", "review.html")
    assert code == 2 and listed in " ".join(error.split())
    assert not Path("review.html").exists()
