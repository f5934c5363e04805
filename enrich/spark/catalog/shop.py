"""A configuration's product table, and the store of its pictures."""

from pathlib import Path
from typing import NamedTuple

from pyspark.sql import SparkSession

from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.images.locations import parse_location
from enrich.images.store import ImageStore
from enrich.spark.catalog.table import CatalogSnapshot, open_catalog


class Shop(NamedTuple):
    """A product table, and the store of its pictures."""

    catalog: CatalogSnapshot
    store: ImageStore


def open_shop(spark: SparkSession, location: str, config: JobConfig) -> Shop:
    """Opens the product table at `location`, and the store of its pictures. Runs on the driver.

    Raises:
        ConfigError: there is no such table, it lacks a column, or nothing says where its image
            paths start.
    """
    catalog = open_catalog(spark, location, config.columns)
    root = _choose_image_root(config, catalog)
    reading = (config.image_limits, config.image_reading)
    return Shop(catalog, ImageStore(root, config.allowed_image_roots, *reading))


def _choose_image_root(config: JobConfig, catalog: CatalogSnapshot) -> str:
    if config.image_root is not None:
        return config.image_root
    if config.columns.image_path is None:
        return str(Path.cwd())  # no image is read
    if catalog.folder is None:
        raise ConfigError(
            f"where do the image paths of table '{catalog.name}' start from? A table known by "
            "name has no folder: give --image-root"
        )
    try:
        parse_location(catalog.folder)
    except ConfigError as error:
        raise ConfigError(
            f"image paths start from the catalog's folder, where none may be: {error}; give "
            "--image-root"
        ) from error
    return catalog.folder
