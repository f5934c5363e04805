"""jobs/check_settings.py: what a run would refuse is told in a second, without Spark."""

import pandas as pd
import pytest
from job_script import load_job, run_job
from PIL import Image


@pytest.fixture
def shop(tmp_path):
    """Two products with a picture each, of which one is not there."""
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
    columns = ["sku", "title", "description", "image_path"]
    rows = [("1", "a shirt", None, "a.jpg"), ("2", "a shoe", None, "b.jpg")]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "products.csv", index=False)
    return tmp_path


def write(shop, more=""):
    file = shop / "shop.yaml"
    file.write_text(f"catalog: {shop / 'products.csv'}\ncolumns: {{product_id: sku}}\n{more}")
    return file


def test_what_settings_name_is_looked_at(run, shop):
    code, out, _ = run("--config", write(shop, f"report_dir: {shop / 'pages'}\n"))
    assert code == 0
    said = {line.split()[0]: line for line in out.splitlines()}
    assert "2 rows" in said["catalog"] and "1 of the first 2" in said["images"]
    assert "17 of color" in said["checkpoint"] and "pages" in said["folder"]
    assert not (shop / "pages").exists(), "a check writes nothing"


def test_pictures_beside_a_table_do_not_make_it_too_large(run, shop):
    with (shop / "large.jpg").open("wb") as large:
        large.truncate(300_000_000)
    code, out, _ = run("--config", write(shop), "--catalog", shop)
    assert code == 0 and "2 rows" in out


def test_a_table_that_spark_alone_can_read_is_not_looked_at(run, shop):
    code, out, _ = run("--config", write(shop), "--catalog", "shop.products")
    assert code == 0 and "shop.products is not looked at" in out and "images" not in out


def test_a_file_with_a_typing_error_is_not_taken_for_a_table(run, shop):
    code, _, err = run("--config", write(shop), "--catalog", "prodcuts.csv")
    assert code == 2 and "no product table is at prodcuts.csv" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("target_precision: 0.8\n", "no thresholds for target_precision 0.8"),
        ("lexicon: {color: {navy: mauve}}\n", "mauve"),
        ("applies_to: {color: [shirts]}\n", "columns.category"),
        ("baseline: gone.json\n", "gone.json cannot be read"),
        ("image_root: gone\n", "none of the first 2 images"),
        ("report_dir: a.jpg/pages\n", "a.jpg, expected a folder"),
        (
            "validation: {expectations: [{type: expect_column_meen_to_be_between}]}\n",
            "expect_column_mean_to_be_between",
        ),
    ],
)
def test_what_a_run_would_refuse_is_refused(run, shop, more, said):
    code, _, err = run("--config", write(shop, more))
    assert code == 2 and said in err


def test_a_column_that_is_not_there_is_refused(run, shop):
    file = write(shop)
    file.write_text(file.read_text().replace("sku", "id"))
    code, _, err = run("--config", file)
    assert code == 2 and "no column id; it has sku" in err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--dry-run", "--limit", "5"), "--limit, --dry-run"),
        (("--publish-run", "a", "--reason", "b"), "--publish-run, --reason"),
        (("--summary", "s.json"), "--summary"),
    ],
)
def test_flags_without_effect_on_a_check_are_refused(shop, capsys, flags, named):
    job = load_job("enrich_catalog")
    config = ("--config", write(shop))
    assert run_job(job, "--check", *config) == 0
    capsys.readouterr()
    assert run_job(job, "--check", *config, *flags) == 2
    assert f"found {named}, which have no effect" in capsys.readouterr().err
