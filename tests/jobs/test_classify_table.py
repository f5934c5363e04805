"""jobs/classify_table.py: the engine over a Parquet file, without Spark."""

import errno
import json
import os

import pandas as pd
import pytest
from deltalake import write_deltalake
from image_host import image_host, reach_this_machine
from PIL import Image


@pytest.fixture
def shop(tmp_path):
    """A catalog with a sound product, three broken ones and an id that is missing."""
    (tmp_path / "shop").mkdir()
    Image.new("RGB", (200, 160), (200, 20, 20)).save(tmp_path / "shop" / "red.jpg")
    products = pd.DataFrame(
        {
            "price": [1, 2, 3, 4, 5],
            "image_path": ["red.jpg", None, "gone.jpg", "red.jpg", "../x.jpg"],
            "product_id": ["9", "2", "7", None, "2"],
            "title": ["red shirt", "blue shoes", "", None, "green dress"],
            "description": [None, "plain", None, None, None],
        }
    )
    products.to_parquet(tmp_path / "shop" / "products.parquet")
    return tmp_path / "shop"


def _flags(shop, **changes):
    given = {"catalog": shop / "products.parquet", "output": shop / "out" / "a.parquet"} | changes
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def test_output_has_the_rows_of_the_input_in_their_order(shop, run):
    code, out, _ = run(*_flags(shop))
    assert code == 0
    rows = pd.read_parquet(shop / "out" / "a.parquet")
    assert rows["product_id"].tolist() == ["9", "2", "7", None, "2"]
    statuses = ["ok", "image_missing", "image_missing", "text_empty", "image_forbidden"]
    assert rows["status"].tolist() == statuses
    assert rows["modalities"].tolist() == ["image+text", "text", None, "image", "text"]
    answered = rows["color_confidence"].notna()
    assert answered.tolist() == [True, True, False, True, True]
    assert rows["predictions"][0][0]["label"] == "red"
    assert [len(predictions) for predictions in rows["predictions"]] == [3, 3, 0, 3, 3]
    assert [file.name for file in (shop / "out").iterdir()] == ["a.parquet"]

    summary = json.loads(out.splitlines()[-1])
    assert (summary["read"], summary["answered"], summary["unreadable"]) == (5, 4, 1)
    assert summary["failed_images"] == 2
    assert summary["products_per_second"] > 0
    assert summary["output"] == str(shop / "out" / "a.parquet")
    assert set(rows["model_version"]) == {summary["model_version"]}


def test_limit_image_root_and_integer_ids(shop, tmp_path, run):
    products = pd.read_parquet(shop / "products.parquet")
    products.assign(product_id=range(5)).to_parquet(shop / "products.parquet")
    assert run(*_flags(shop, limit=2, **{"image-root": tmp_path}))[0] == 0
    rows = pd.read_parquet(shop / "out" / "a.parquet")
    assert rows["product_id"].tolist() == ["0", "1"]
    assert rows["status"].tolist() == ["image_missing"] * 2, "relative images start from the root"


def test_a_delta_table_of_the_settings_is_classified(shop, run):
    write_deltalake(shop / "delta", pd.read_parquet(shop / "products.parquet"))
    settings = shop / "shop.yaml"
    settings.write_text(f"catalog: {shop / 'delta'}\nimage_root: {shop}\n")
    code, _, _ = run("--config", settings, "--output", shop / "a.parquet")
    assert code == 0
    rows = pd.read_parquet(shop / "a.parquet").set_index("product_id")
    assert rows["status"]["9"] == "ok" and len(rows) == 5
    code, _, err = run("--output", shop / "b.parquet")
    assert code == 2 and "no product table is named" in err
    code, _, err = run("--config", settings, "--output", shop / "delta" / "b.parquet")
    assert code == 2 and "would change" in err


def test_an_attribute_is_not_answered_where_it_does_not_apply(shop, run):
    products = pd.read_parquet(shop / "products.parquet")
    products.assign(kind=["shirts", "perfumes", None, "shirts", "shirts"]).to_parquet(
        shop / "products.parquet"
    )
    settings = shop / "shop.yaml"
    where = f"catalog: {shop / 'products.parquet'}\nimage_root: {shop}\n"
    settings.write_text(f"{where}columns: {{category: kind}}\napplies_to: {{style: [shirts]}}\n")
    assert run("--config", settings, "--output", shop / "a.parquet")[0] == 0
    rows = pd.read_parquet(shop / "a.parquet")
    said = [
        {one["attribute"]: one["abstention"] == "not_applicable" for one in row}
        for row in rows["predictions"]
    ]
    # The second id is there twice, and the first row of it counts.
    assert [one.get("style", False) for one in said] == [False, True, False, False, True]
    assert not any(one.get("color", False) for one in said)


def test_an_empty_table_gives_an_empty_table(shop, run):
    pd.read_parquet(shop / "products.parquet").head(0).to_parquet(shop / "products.parquet")
    code, out, _ = run(*_flags(shop))
    assert code == 0 and json.loads(out.splitlines()[-1])["read"] == 0
    assert len(pd.read_parquet(shop / "out" / "a.parquet")) == 0


def _rewrite(shop, change):
    change(pd.read_parquet(shop / "products.parquet")).to_parquet(shop / "products.parquet")
    return {}


def _pipe_out(shop):
    os.mkfifo(shop / "pipe.parquet")
    return {"output": shop / "pipe.parquet"}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda shop: _rewrite(shop, lambda table: table.drop(columns="title")),
            "has no column title; it has price",
        ),
        (lambda shop: {"catalog": shop / "gone.parquet"}, "gone.parquet"),
        (
            lambda shop: {"checkpoint": "s3://me:secret@bucket/checkpoint"},
            "checkpoint holds a password",
        ),
        (lambda shop: {"image-root": "http://example.org/"}, "not allowed for images"),
        (_pipe_out, "is a device or a pipe"),
        (lambda shop: {"output": shop / "out.csv"}, "expected .parquet"),
        (lambda shop: {"output": shop / ".." / "shop" / "products.parquet"}, "would change"),
    ],
)
def test_a_wrong_set_up_is_one_message_and_exit_code_2(shop, run, break_it, message):
    flags = _flags(shop, **break_it(shop))
    before = (shop / "products.parquet").read_bytes()
    code, out, err = run(*flags)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and len(err.splitlines()) == 1
    assert "secret" not in err
    assert not (shop / "out").exists() and not (shop / "out.csv").exists()
    assert (shop / "products.parquet").read_bytes() == before, "it is never written over"


@pytest.mark.parametrize("moment", ["write_table", "close"])
def test_a_disk_that_fills_up_is_a_message_and_leaves_no_half_file(
    job, shop, run, monkeypatch, moment
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job.pq.ParquetWriter, moment, full)
    code, _, err = run(*_flags(shop))
    assert code == 1 and "cannot be written: " in err and "No space left on device" in err
    assert "Traceback" not in err
    assert list((shop / "out").iterdir()) == []


@pytest.mark.parametrize(("title", "what"), [("", "products"), ("a shirt", "images")])
def test_a_table_that_cannot_be_read_is_no_success(tmp_path, run, title, what):
    rows = [f"{number},{title},,nowhere.jpg" for number in range(200)]
    catalog = tmp_path / "products.csv"
    catalog.write_text("\n".join(["product_id,title,description,image_path", *rows]))

    code, out, err = run("--catalog", catalog, "--output", tmp_path / "out.parquet")

    assert code == 3
    assert json.loads(out.splitlines()[-1])["unreadable"] == (0 if title else 200)
    assert f"200 of 200 {what} could not be read" in err


def test_images_are_read_by_url_and_from_lists_as_the_settings_say(tmp_path, run, monkeypatch):
    reach_this_machine(monkeypatch)
    Image.new("RGB", (200, 160), (200, 20, 20)).save(tmp_path / "red.jpg")
    with image_host() as host:
        red = host.sends("/red.jpg", (tmp_path / "red.jpg").read_bytes())
        rows = [
            {"sku": "1", "name": "shirt", "images": [host.url("/gone.jpg"), red]},
            {"sku": "2", "name": "shirt", "images": ["https://elsewhere.example.com/a.jpg"]},
            {"sku": "3", "name": "shirt", "images": []},
        ]
        catalog = tmp_path / "products.jsonl"
        catalog.write_text("\n".join(map(json.dumps, rows)))
        settings = tmp_path / "shop.yaml"
        settings.write_text(
            "columns: {product_id: sku, title: name, description: null, image_path: images}\n"
            f"image_hosts: ['cdn.example.com:{host.port}']\n"
        )
        flags = ("--catalog", catalog, "--output", tmp_path / "out.parquet")
        assert run(*flags, "--config", settings)[0] == 0
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["product_id"].tolist() == ["1", "2", "3"]
    assert found["status"].tolist() == ["ok", "image_forbidden", "image_missing"]
    assert "image_hosts" in found["error"][1]
