"""A worker that does not see what the driver sees is refused before anything is written."""

import subprocess

import pandas as pd
import pytest
from own_lakehouse import JOB, Lakehouse
from PIL import Image
from standalone import Worker, standalone_cluster

pytestmark = [pytest.mark.spark, pytest.mark.long]


@pytest.fixture
def shop(tmp_path):
    """Three products with a picture each, and an empty folder for tables."""
    (tmp_path / "images").mkdir()
    (tmp_path / "warehouse").mkdir()
    rows = [(f"p{number}", "a shirt", None, f"{number}.jpg") for number in range(3)]
    for _, _, _, image in rows:
        Image.new("RGB", (20, 20)).save(tmp_path / "images" / image)
    columns = ["product_id", "title", "description", "image_path"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "products.csv", index=False)
    return tmp_path


def without(folder):
    """Return a worker that sees an empty folder there."""
    hide = f'mount -t tmpfs none {folder} && exec "$@"'
    starter = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh")
    if subprocess.run([*starter, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount: the claim is NOT tested")
    return Worker(starter=starter)


def submit(shop, master, *flags):
    conf = ["spark.scheduler.minRegisteredResourcesRatio=1", "spark.executor.memory=600m"]
    spark = [word for one in conf for word in ("--conf", one)]
    job = ("--catalog", shop / "products.csv", "--image-root", shop / "images")
    return Lakehouse(shop).submit("--master", master, *spark, JOB, *job, *flags)


def test_executors_that_see_what_the_driver_sees_are_proved(shop):
    with standalone_cluster(shop, [Worker(), Worker()]) as master:
        ended = submit(shop, master, "--check", "--cluster")
    assert ended.code == 0, ended.output + ended.errors
    assert "2 executors see what the driver sees" in ended.output
    assert not list((shop / "warehouse").iterdir())


@pytest.mark.parametrize(
    ("folder", "setting"), [("images", "image_root"), ("warehouse", "spark.sql.warehouse.dir")]
)
def test_a_worker_without_a_folder_is_refused_by_the_name_of_the_setting(shop, folder, setting):
    with standalone_cluster(shop, [Worker(), without(shop / folder)]) as master:
        ended = submit(shop, master)
    said = ended.output + ended.errors
    assert ended.code == 2, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and f" {setting}: {shop / folder}" in errors[0], said
    assert not list((shop / "warehouse").iterdir())
