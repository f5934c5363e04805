"""A configuration's product table, and the store of its pictures."""

from pyspark.sql import SparkSession

from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.images.store import ImageStore
from enrich.spark.catalog import CatalogSnapshot, open_catalog


def open_shop(
    spark: SparkSession, location: str, config: JobConfig
) -> tuple[CatalogSnapshot, ImageStore]:
    """Opens the product table at `location`, and the store of its pictures. Runs on the driver.

    Raises:
        ConfigError: there is no such table, it lacks a column, or nothing says where its image
            paths start.
    """
    catalog = open_catalog(spark, location, config.columns)
    root = choose_image_root(config, catalog)
    return catalog, ImageStore(
        root, config.allowed_image_roots, config.image_limits, config.image_reading
    )


def choose_image_root(config: JobConfig, catalog: CatalogSnapshot) -> str:
    """Returns where relative image paths start: as configured, else the catalog's folder.

    Raises:
        ConfigError: neither is known.
    """
    image_root = config.image_root or catalog.folder
    if image_root is None:
        raise ConfigError(
            f"where do the image paths of table '{catalog.name}' start from? A table known by "
            "name has no folder: give --image-root"
        )
    return image_root
