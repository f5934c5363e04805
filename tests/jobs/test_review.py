"""From unsure answers to a page, to keys, to a file, to corrections, to the next run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import open_tab
from job_script import Run, load_job, run_job
from PIL import Image
from shop import Shop, products

from enrich.files.labels import read_labels
from enrich.fake_engine import FakeEngineSpec

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark")]

ATTRIBUTES = FakeEngineSpec().attributes
# Of a fifth of all answers the fake engine is unsure.
PRODUCTS = 120


def with_pictures(shop: Shop) -> None:
    table = products(PRODUCTS)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    for product_id in table["product_id"]:
        Image.fromarray(pixels).save(shop.folder / f"{product_id}.jpg")
    shop.write(table.assign(image_path=table["product_id"] + ".jpg"))


def test_labels_that_were_given_by_keys_are_what_the_next_run_publishes(
    run: Run, shop: Shop, tmp_path: Path
) -> None:
    with_pictures(shop)
    shop.refresh()
    before = shop.table("product_attributes").set_index("product_id")
    shop.correct("p0", "color", "red")
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
            keys = {3: ("n",), 7: ("x",), 11: ("2",), 19: ("w", "Enter")}.get(number, ("1",))
            if number == 19 and tab.text("attribute") == "pattern":
                keys = ("l", "Enter")
            tab.press(*keys)
            strokes += len(keys)
            if number == 14:
                tab.reload()
        tab.run("document.querySelector('#end [data-do=save]').click()")
        tab.wait_for_file(tmp_path, "labels-*.csv")
    (file,) = tmp_path.glob("labels-*.csv")
    assert strokes <= 1.2 * 30

    assert run_job(load_job("import_corrections"), "--file", file, "--by", "ana", "--database", shop.database) == 0
    summary = shop.refresh()

    given = read_labels(file, {**ATTRIBUTES, **bundled()})
    after = shop.table("product_attributes").set_index("product_id")
    expected = before.copy()
    for row in given.itertuples():
        is_label = row.label not in ("not_applicable", "other")
        expected.loc[row.product_id, row.attribute] = row.label if is_label else None
    assert len(given) == 30 and summary.counts["published"] == given["product_id"].nunique()
    assert not ((given["product_id"] == "p0") & (given["attribute"] == "color")).any()
    names = list(ATTRIBUTES)
    pd.testing.assert_frame_equal(after[names].sort_index(), expected[names].sort_index())
