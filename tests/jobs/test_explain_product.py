"""jobs/explain_product.py: one product, one picture."""

import pandas as pd
import pytest
from deltalake import write_deltalake
from PIL import Image

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.files.products import open_source
from enrich.training.calibration import log_odds


@pytest.fixture
def shop(tmp_path):
    """A catalog of two products with integer ids, and a picture outside of it."""
    (tmp_path / "shop").mkdir()
    Image.new("RGB", (200, 160), (200, 20, 20)).save(tmp_path / "shop" / "red.jpg")
    products = pd.DataFrame(
        {
            "product_id": [7, 42],
            "title": ["blue shoes", "red shirt"],
            "description": [None, "plain"],
            "image_path": [None, "red.jpg"],
        }
    )
    products.to_parquet(tmp_path / "shop" / "products.parquet")
    return tmp_path / "shop"


def test_a_picture_and_a_title_are_explained_by_the_bundled_checkpoint(shop, run):
    output = shop / "out" / "a.png"
    code, out, err = run("--image", shop / "red.jpg", "--title", "red shirt", "--output", output)
    assert (code, out, err) == (0, f"explanation: {output}\n", "")
    assert output.read_bytes().startswith(b"\x89PNG")


def test_a_product_of_a_catalog_is_the_same_as_its_own_flags(job, shop, run):
    table = shop / "products.parquet"
    code, _, _ = run("--catalog", table, "--product-id", 42, "--output", shop / "a.png")
    assert code == 0
    product, folder = job.choose_product(
        job.Product("42", "red shirt", "plain", "red.jpg"), shop / "red.jpg", None
    )
    source = open_source(JobConfig(catalog=str(table)))
    assert (product, folder) == job.choose_product(job.Product("42"), None, source)


def test_a_product_of_the_settings_catalog_is_explained(shop, run):
    products = pd.read_parquet(shop / "products.parquet").rename(columns={"product_id": "sku"})
    write_deltalake(shop / "delta", products)
    settings = shop / "shop.yaml"
    settings.write_text(
        f"catalog: {shop / 'delta'}\nimage_root: {shop}\ncolumns: {{product_id: sku}}\n"
    )
    flags = ("--config", settings, "--product-id")
    assert run(*flags, 42, "--output", shop / "a.png")[0] == 0
    code, _, err = run(*flags, 42, "--output", shop / "red.jpg")
    assert code == 2 and "would change" in err, "its picture"
    code, _, err = run(*flags, 43, "--output", shop / "b.png")
    assert code == 2 and "has no product '43' among its 2" in err
    code, _, err = run("--config", settings, "--output", shop / "b.png")
    assert code == 2 and "no product: give" in err


def test_thresholds_are_those_of_the_unseen_source(shop, run, monkeypatch):
    drawn = []
    monkeypatch.setattr("enrich.analysis.explanation_figure.draw", lambda one, _: drawn.append(one))
    monkeypatch.setenv("CATALOG_ENRICH_HOME", str(shop))
    settings = shop / "shop.yaml"
    settings.write_text(f"catalog: {shop / 'products.parquet'}\ndatabase: shop\n")
    flags = ("--config", settings, "--product-id", 42, "--output", shop / "a.png")
    code, _, err = run(*flags)
    assert code == 0 and "thresholds are those of a source like training's" in err
    encoder = read_manifest(BUNDLED).digests.encoder
    profiles = pd.DataFrame(
        {
            "source": ["/of last night/products.parquet", "/the/demo_catalog", "/other"],
            "encoder_version": [encoder, encoder, "another"],
            "looked_at": pd.to_datetime(["2026-05-01", "2026-05-02", "2026-05-03"], utc=True),
            "rise": [1.5, 0.5, 3.0],
        }
    )
    write_deltalake(shop / "lakehouse" / "warehouse" / "shop.db" / "source_profiles", profiles)
    assert run(*flags)[0] == 0
    like_training, unseen = (log_odds(one.thresholds["color"]) for one in drawn)
    assert unseen - like_training == pytest.approx(1.5)
    settings.write_text(settings.read_text() + "unseen_source: calibrated\n")
    assert run(*flags)[0] == 0
    assert drawn[2].thresholds == drawn[0].thresholds


OF_CATALOG = ["--catalog", "products.parquet", "--product-id"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no product: give --image or --title"),
        (["--catalog", "products.parquet"], "--product-id and --catalog go together"),
        (["--title", "a", "--product-id", 42], "--product-id and --catalog go together"),
        ([*OF_CATALOG, 9], "has no product '9' among its 2"),
        (["--image", "red.jpg", "--image-root", "."], "--image-root goes with --catalog"),
        (["--title", "a", "--database", "shop"], "--database goes with --catalog"),
        ([*OF_CATALOG, 42, "--database", "none"], "no Delta table can be read"),
        (["--title", "a", "--output", "a.jpg"], "expected .png"),
        # What is explained is never written over.
        (["--image", "red.jpg", "--output", "red.jpg"], "would change"),
        ([*OF_CATALOG, 42, "--image-root", ".", "--output", "red.jpg"], "would change"),
    ],
)
def test_a_wrong_set_up_is_one_message_and_exit_code_2(shop, run, monkeypatch, flags, message):
    monkeypatch.chdir(shop)
    before = {file.name: file.read_bytes() for file in shop.iterdir()}
    code, out, err = run(*([] if "--output" in flags else ["--output", "a.png"]), *flags)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and len(err.splitlines()) == 1
    assert {file.name: file.read_bytes() for file in shop.iterdir()} == before
