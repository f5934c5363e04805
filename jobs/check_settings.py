"""Check the main job's settings, and all that they name, without starting Spark.

    python jobs/check_settings.py --config shop.yaml

Tables by name or URI, which only Spark can read, are not checked, and the output says so. Exit
code 2 at the first error.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from enrich.classifiers.manifest import fetch_manifest
from enrich.cli import DEFAULT_CONFIG, Given, common_options, run_command
from enrich.config import DEMO_CATALOG, JobConfig
from enrich.engine.spec import build_spec, published_labels
from enrich.errors import ConfigError, kind_of
from enrich.files.products import is_table_name, open_source, read_products
from enrich.files.tables import is_delta, list_parts
from enrich.images.locations import local_path
from enrich.images.settings import ImageProblem
from enrich.places import Place, names_in
from expectations.baseline import load_baseline, refuse_unknown_labels

# Images of the first products that are read.
_IMAGES = 20
# In bytes. Reading a larger table would take too long for a check.
_LARGEST = 200_000_000


@common_options("catalog", "image_root", "database", "checkpoint")
def main(
    given: Given,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Only check what Spark's executors see.")
    ] = False,
) -> None:
    """Check the main job's settings, and all that they name, without starting Spark."""
    if cluster:
        from jobs.enrich_catalog import check_cluster

        _report("cluster", check_cluster(given))
        return
    settings = given.read()
    _report("settings", f"{given.config or DEFAULT_CONFIG} fits")
    manifest = fetch_manifest(settings.checkpoint)
    spec = build_spec(settings, manifest, settings.image_root or ".")
    counts = ", ".join(f"{len(labels)} of {name}" for name, labels in spec.attributes.items())
    _report("checkpoint", f"{spec.model_version}: {counts}")
    _check_baseline(settings, published_labels(settings, manifest))
    _check_expectations(settings)
    for folder in (settings.report_dir, settings.metrics_dir):
        if folder is not None:
            _report("folder", _check_folder(folder))
    if settings.catalog == DEMO_CATALOG or _is_for_spark(settings.catalog):
        _report("catalog", f"{settings.catalog} is not looked at: only the job reads it")
        return
    source = open_source(settings)
    if _size(source.table) > _LARGEST:
        _report("catalog", f"{source.table} is there, and too large to be read here")
        return
    products = read_products(source.table, None, settings.columns)
    _report("catalog", f"{source.table}: {products.num_rows:,} rows, with all columns")
    paths = [one for one in products["image_path"].to_pylist() if one][:_IMAGES]
    _check_images(build_spec(settings, manifest, source.image_root), paths)


def _check_folder(folder: Place) -> str:
    if isinstance(folder, Path):
        there = next(one for one in (folder, *folder.parents) if os.access(one, os.F_OK))
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise ConfigError(
                f"{folder} cannot be written to: found {there}, expected a folder that this user "
                "may write to. Correct the settings."
            )
        return f"{folder} can be written to"
    try:
        names_in(folder)
    except OSError as error:
        kind = kind_of([str(error)], ConfigError)
        raise kind(f"{folder} cannot be listed: {error.strerror}") from error
    return f"{folder} can be listed"


def _check_baseline(settings: JobConfig, labels: dict[str, tuple[str, ...]]) -> None:
    if settings.baseline is None:
        _report("baseline", "none is named")
        return
    refuse_unknown_labels(load_baseline(settings.baseline), labels)
    _report("baseline", f"{settings.baseline} fits")


def _check_expectations(settings: JobConfig) -> None:
    validation = settings.validation
    if not (validation.expectations or validation.expectation_modules):
        return
    # Great Expectations takes seconds to import.
    from expectations.suite import build_further

    count = len(build_further(validation))
    _report("gate", f"{count} of your own expectations can be used")


def _is_for_spark(catalog: str) -> bool:
    """Return whether a catalog is a URI or a table's name."""
    place = local_path(catalog)
    return "://" in place or is_table_name(place)


def _size(table: Path) -> int:
    if table.is_file():
        files = [table]
    elif is_delta(table):
        files = [one for one in table.rglob("*") if one.is_file()]
    else:
        # Pictures may lie beside them.
        files = list_parts(table)
    return sum(one.stat().st_size for one in files)


def _check_images(spec: Any, paths: Sequence[str]) -> None:
    store, problems = spec.open_store(), []
    for path in paths:
        try:
            store.read(path)
        except ImageProblem as problem:
            problems.append(f"{path}: {problem}")
    if not paths:
        _report("images", "no product names one")
    elif len(problems) == len(paths):
        raise ConfigError(
            f"none of the first {len(paths)} images can be read below {spec.image_root}. "
            f"The first: {problems[0]}"
        )
    else:
        _report("images", f"{len(paths) - len(problems)} of the first {len(paths)} can be read")


def _report(subject: str, result: str) -> None:
    typer.echo(f"{subject:<11}{result}")


if __name__ == "__main__":
    run_command(main)
