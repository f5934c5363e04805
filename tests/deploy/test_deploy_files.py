"""The files of deploy/: they agree with the project, with each other, and with docs/cluster.md."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from job_script import load_job

from jobs import catalog_enrich

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements" / "lock.txt").read_text()
# Fields that published schemas require: of Kubernetes (batch/v1, rbac/v1), and of the custom
# resource of the Spark operator (v1beta2).
REQUIRED = {
    "CronJob": ["spec.schedule", "spec.jobTemplate.spec.template.spec.containers"],
    "Pod": ["spec.containers"],
    "Role": ["rules"],
    "RoleBinding": ["roleRef.apiGroup", "roleRef.kind", "roleRef.name"],
    "ServiceAccount": [],
    "SparkApplication": [
        *(f"spec.{name}" for name in ("type", "sparkVersion", "mainApplicationFile")),
        *("spec.driver", "spec.executor"),
    ],
}


def read(file):
    return list(yaml.safe_load_all(file.read_text()))


def application():
    return read(DEPLOY / "kubernetes" / "spark-application.yaml")[0]["spec"]


def flags_of_the_job():
    app = typer.Typer(add_completion=False)
    app.command()(load_job("enrich_catalog").main)
    return {flag for one in typer.main.get_command(app).params for flag in one.opts}


def reference_settings():
    text = (ROOT / "jobs/conf/cluster/gpu-cluster.conf").read_text()
    return dict(re.findall(r"^(spark\.\S+)\s+(.+)$", text, re.MULTILINE))


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.name)
def test_kubernetes_objects_have_what_their_kind_requires(file):
    for found in read(file):
        assert found["apiVersion"] and found["metadata"]
        for path in REQUIRED[found["kind"]]:
            value: Any = found
            for name in path.split("."):
                value = value[name]
            assert value, path


def driver_of_the_cron_job():
    job = read(DEPLOY / "kubernetes" / "cron-job.yaml")[0]["spec"]["jobTemplate"]
    return job["spec"]["template"]["spec"]["containers"][0]


def task_of_the_bundle():
    bundle = read(DEPLOY / "databricks" / "databricks.yml")[0]["resources"]["jobs"]
    (task,) = bundle["enrich_catalog"]["tasks"]
    return task


def test_every_flag_that_a_file_gives_the_job_is_one_of_its_flags():
    known, given = flags_of_the_job(), set()
    words = driver_of_the_cron_job()["args"]
    job = next(at for at, word in enumerate(words) if word.endswith("jobs/enrich_catalog.py"))
    command, *parameters = task_of_the_bundle()["python_wheel_task"]["parameters"]
    assert catalog_enrich.COMMANDS[command][0] == "enrich_catalog:main"
    for word in (*application()["arguments"], *words[job + 1 :], *parameters):
        given.add(word.partition("=")[0])
    assert given <= known and "--summary" in given


def test_the_files_name_the_versions_of_the_project():
    version, lock = PROJECT["version"], dict(re.findall(r"^([\w-]+)==(\S+)", LOCK, re.MULTILINE))
    spec = application()
    assert spec["sparkVersion"] == lock["pyspark"]
    cron_job = (DEPLOY / "kubernetes" / "cron-job.yaml").read_text()
    images = [spec["image"], *re.findall(r"image: (\S+)", cron_job)]
    assert {image.rpartition(":")[2] for image in images} == {version}
    bundle = (DEPLOY / "databricks" / "databricks.yml").read_text()
    assert f"great-expectations=={lock['great-expectations']}" in bundle
    package = re.search(r"package_name: (\S+)", bundle)
    assert package and package[1] == PROJECT["name"] and "catalog-enrich" in PROJECT["scripts"]


def test_paths_in_the_image_are_where_its_steps_put_them():
    text = (DEPLOY / "image" / "Dockerfile").read_text()
    python = re.search(r"^ARG PYTHON=python:(3\.\d+)-", text, re.MULTILINE)
    assert python
    packages = f"/opt/enrich/lib/python{python[1]}/site-packages"
    assert f"SPARK_HOME={packages}/pyspark" in text
    for file in KUBERNETES:
        for path in re.findall(r"/opt/enrich/\S+", file.read_text()):
            assert (ROOT / path.removeprefix(f"{packages}/")).exists(), path


def test_kubernetes_and_the_reference_settings_agree():
    reference, spec = reference_settings(), application()
    given = spec["sparkConf"]
    differs = {name for name, value in given.items() if reference.get(name, value) != value}
    assert differs == {"spark.executor.resource.gpu.discoveryScript"}
    for who in ("driver", "executor"):
        for key, name in (("memory", "memory"), ("memoryOverhead", "memoryOverhead")):
            assert spec[who][key] == reference[f"spark.{who}.{name}"]
    assert spec["executor"]["cores"] == int(reference["spark.executor.cores"])
    elsewhere = {"spark.jars.packages"}  # in the image
    told = {name for name in reference if name not in given} - elsewhere
    prefixes = ("spark.executor.", "spark.driver.", "spark.dynamicAllocation.")
    assert all(name.startswith(prefixes) for name in told), told


def test_executors_get_the_drivers_image_and_namespace_in_every_way_to_start_a_run():
    file = DEPLOY / "kubernetes" / "pod-template.yaml"
    driver, spec = driver_of_the_cron_job(), application()
    (account,) = (one for one in read(file.with_name("access.yaml")) if "roleRef" in one)
    namespace, template = account["metadata"]["namespace"], "spark.kubernetes.executor.podTemplate"
    by_hand = re.findall(r"^#     --conf (\S+?)=(\S+)", file.read_text(), re.MULTILINE)
    cron_job = re.findall(r"^--conf=(\S+?)=(\S+)$", "\n".join(driver["args"]), re.MULTILINE)
    for given in (dict(by_hand), dict(cron_job)):
        assert given["spark.kubernetes.namespace"] == namespace
        assert given["spark.kubernetes.container.image"] == driver["image"] == spec["image"]
        assert Path(given[f"{template}File"]).name == file.name
    # Of the driver's pod; the CronJob and the operator have theirs in fields of their own.
    name = dict(by_hand)["spark.kubernetes.authenticate.driver.serviceAccountName"]
    assert {name} == {one["name"] for one in account["subjects"]}
    assert spec["driver"]["serviceAccount"] == name
    for name in ("spark-application.yaml", "cron-job.yaml"):
        assert read(file.with_name(name))[0]["metadata"]["namespace"] == namespace


def test_no_platform_repeats_a_run_of_itself_that_would_end_likewise():
    assert "--conf spark.yarn.maxAppAttempts=1 " in (DEPLOY / "yarn" / "submit.sh").read_text()
    assert "bash deploy/yarn/submit.sh" in (DEPLOY / "emr" / "step.sh").read_text()
    assert application()["restartPolicy"] == {"type": "Never"}
    assert task_of_the_bundle()["max_retries"] == 0
    job = read(DEPLOY / "kubernetes" / "cron-job.yaml")[0]["spec"]["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [2, 3]


def test_spills_go_to_the_volume_in_every_kind_of_pod():
    pods = [application()["executor"]["template"], read(DEPLOY / "kubernetes/pod-template.yaml")[0]]
    for pod in pods:
        (volume,) = pod["spec"]["volumes"]
        (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
        # By this beginning of its name Spark knows the volume.
        assert volume["name"] == mount["name"] and volume["name"].startswith("spark-local-dir-")
        assert {one["key"] for one in pod["spec"]["tolerations"]} == {"nvidia.com/gpu"}


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_scripts_are_sound_and_name_files_that_are_there(file):
    subprocess.run(["bash", "-n", file], check=True)
    named = re.findall(r"(?<![\w/$])(?:deploy|jobs|requirements)/[\w./-]+\w", file.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_emr_classifications_have_the_form_that_emr_reads():
    read_again = json.loads((DEPLOY / "emr" / "gpu-classifications.json").read_text())
    for one in (*read_again, *(c for r in read_again for c in r.get("Configurations", ()))):
        assert {"Classification", "Properties"} <= one.keys()
        assert all(isinstance(value, str) for value in one["Properties"].values())


@pytest.fixture
def started(tmp_path):
    """Return a function that runs a script, with programs that print their words."""
    for name in ("spark-submit", "java"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@"\n')
        program.chmod(0o755)

    def start(*words, script="image/entrypoint.sh", **environment):
        env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TINI": "", **environment}
        env |= {"SPARK_HOME": "/spark", "JAVA_HOME": str(tmp_path)}
        command = ["bash", DEPLOY / script, *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return start


def test_the_image_starts_what_spark_on_kubernetes_asks_for(started):
    driver = started("driver", "--class", "x y", SPARK_DRIVER_BIND_ADDRESS="10.0.0.1")
    address = "spark.driver.bindAddress=10.0.0.1"
    assert driver[:4] == ["spark-submit", "--conf", address, "--deploy-mode"]
    assert driver[-2:] == ["--class", "x y"]
    names = ["DRIVER_URL", "EXECUTOR_ID", "EXECUTOR_CORES", "APPLICATION_ID", "EXECUTOR_POD_IP"]
    names += ["RESOURCE_PROFILE_ID", "EXECUTOR_POD_NAME", "EXECUTOR_MEMORY"]
    given = {f"SPARK_{name}": name.lower() for name in names}
    options = {"SPARK_JAVA_OPT_0": "-Da=b c", "SPARK_JAVA_OPT_1": "-Dd"}
    executor = started("executor", **given, **options)
    assert executor[:3] == ["java", "-Da=b c", "-Dd"]
    assert "/spark/conf::/spark/jars/*" in executor
    assert executor[executor.index("--driver-url") + 1] == "driver_url"
    assert started("java", "-version") == ["java", "-version"]


@pytest.mark.parametrize(
    ("files", "shipped"), [({}, ""), ({"FILES": "shop.yaml,shop.json"}, "shop.yaml,shop.json,")]
)
def test_yarn_ships_the_files_that_are_given(started, files, shipped):
    words = started("--config", "shop.yaml", script="yarn/submit.sh", **files)
    assert words[words.index("--files") + 1] == f"{shipped}jobs/conf/cluster/discover_gpus.sh"
    assert words[-3:] == ["jobs/enrich_catalog.py", "--config", "shop.yaml"]


def test_the_page_shows_the_files_as_they_are():
    page = (ROOT / "docs" / "cluster.md").read_text()
    shown = re.findall(r"\(\.\./(deploy/[\w./-]+)\)[^\n]*\n\n```\w*\n(.*?)```", page, re.DOTALL)
    assert len(shown) >= 4
    for name, block in shown:
        lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
        told = [line.strip() for line in block.strip().splitlines()]
        starts = [at for at in range(len(lines)) if lines[at : at + len(told)] == told]
        assert starts, f"{name} has no such lines: {told[0]}"
    folders = {path.name for path in DEPLOY.iterdir()}
    assert folders <= set(re.findall(r"`deploy/(\w+)/`", page))
