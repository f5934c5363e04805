"""The image, without Docker: its steps are replayed in a folder, and a refresh runs there."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from replay_image import Image

from demo.catalog import write_demo_catalog

DEPLOY = Path(__file__).parents[2] / "deploy"

PAGE = DEPLOY.with_name("docs") / "cluster.md"

pytestmark = [
    pytest.mark.spark,
    pytest.mark.long,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="NOT PYTHON 3.11: NOT tested here"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    built = Image(tmp_path_factory.mktemp("image"))
    built.build()
    return built


def test_the_documented_command_runs_the_demo_in_the_image(image):
    command = re.search(r"`docker run enrich (.+)` runs the demo", PAGE.read_text())
    assert command
    said = image.run(f"TINI= bash /opt/entrypoint.sh {command[1]}")
    outcome = json.loads(said.splitlines()[-1])
    assert outcome["outcome"] == "published" and outcome["counts"]["published"] > 0
    assert (image.folder / "var/lib/enrich/lakehouse/warehouse").is_dir()


def test_the_image_enriches_a_catalog_by_what_its_steps_have_put_into_it(image, tmp_path):
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=25, faults=False)
    # As Spark on Kubernetes starts a driver, with the SQL settings that it is given there.
    given = yaml.safe_load((DEPLOY / "kubernetes" / "spark-application.yaml").read_text())
    settings = {k: v for k, v in given["spec"]["sparkConf"].items() if k.startswith("spark.sql.")}
    settings["spark.sql.warehouse.dir"] = "/var/lib/enrich/warehouse"
    words = " ".join(f"--conf {name}={value}" for name, value in settings.items())
    said = image.run(
        "SPARK_DRIVER_BIND_ADDRESS=127.0.0.1 TINI= bash /opt/entrypoint.sh driver "
        f"--master 'local[2]' --conf spark.driver.host=127.0.0.1 {words} "
        "/opt/enrich/lib/python3.11/site-packages/jobs/enrich_catalog.py "
        f"--catalog {shop} --log-format json"
    )
    outcome = json.loads(said.splitlines()[-1])
    assert (outcome["outcome"], outcome["counts"]["published"]) == ("published", 25)
    assert (image.folder / "var/lib/enrich/warehouse").is_dir()
