"""The job's configuration: one YAML file, validated, overridden by flags.

Nothing that training fixed appears here; it travels with the checkpoint. Imports no Spark.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from schemas.labels import LANGUAGES, read_language

from enrich.calibration import DEFAULT_TARGET_PRECISION, UnseenSource
from enrich.images.settings import ImageLimits, ImageLists, ImageReading
from enrich.logs import LogFormat
from enrich.places import Place, PlaceField, start_in
from enrich.redaction import refuse_secrets
from enrich.settings_files import YamlSettings

DEMO_CATALOG = "demo"
# The variable that names the folder of local tables, pages and the demo catalog.
HOME = "CATALOG_ENRICH_HOME"

DATABASE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"

# Shares of fewer rows say little: one bad product of three is no broken catalog.
MIN_ROWS_TO_ENFORCE = 200

_HOST = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}(:[0-9]{1,5})?"

Share = Annotated[float, Field(ge=0, le=1)]
# An empty one, of a variable that was not set, would be the working directory.
Location = Annotated[str, Field(min_length=1)]
ColumnName = Annotated[str, Field(min_length=1)]


def home() -> Path:
    """Return the folder in which local tables, pages and the demo catalog are written.

    It is CATALOG_ENRICH_HOME, else the checkout, else the working directory.
    """
    if given := os.environ.get(HOME):
        return Path(given).absolute()
    root = Path(__file__).resolve().parent.parent
    return root if is_checkout(root) else Path.cwd()


def is_checkout(folder: Path) -> bool:
    """Return True for a checkout of this project, False for installed packages."""
    return all((folder / name).exists() for name in ("pyproject.toml", "jobs", "enrich"))


def is_too_much(found: int, among: int, allowed_share: float) -> bool:
    """Return True if `found` of `among` rows are more than allowed.

    Fewer than MIN_ROWS_TO_ENFORCE rows are never too many. `allowed_share` is in [0, 1].
    """
    return among >= MIN_ROWS_TO_ENFORCE and found / among > allowed_share


class ImageIdentity(StrEnum):
    """Test for an unchanged image.

    `stat` asks each image for its size, modification time and etag, and reads those that differ.
    `listing` takes these from one listing of the image root, or from an inventory.
    `content` reads every image in every run.
    """

    LISTING = "listing"
    STAT = "stat"
    CONTENT = "content"


class Follow(StrEnum):
    """End of following a product table: when a run has seen all that was there, or never."""

    AVAILABLE = "available"
    CONTINUOUS = "continuous"


class ColumnNames(YamlSettings):
    """Names of the product table's columns; None for a column that it lacks.

    `category` and `priority` are optional, and the classifier sees neither. Results are told
    apart by the category. Products with a higher priority, a number, are enriched earlier.
    """

    product_id: ColumnName = "product_id"
    title: ColumnName | None = "title"
    description: ColumnName | None = "description"
    image_path: ColumnName | None = "image_path"
    category: ColumnName | None = None
    priority: ColumnName | None = None

    @model_validator(mode="after")
    def _something_is_read(self) -> Self:
        if self.title is self.description is self.image_path is None:
            raise ValueError("title, description and image_path are all null: nothing to read")
        return self


class MissingProducts(StrEnum):
    """Treatment of published rows whose product has left the product table."""

    KEEP = "keep"
    DELETE = "delete"


class TableLayout(YamlSettings):
    """Layout of product_attributes in files.

    With `cluster_by` product_id, maintenance keeps neighbouring ids in one file. A MERGE of
    some products then reads and writes few files. With `deletion_vectors` always, a MERGE
    writes the rows that change, and not the files around them. Some readers of Delta tables
    cannot read deletion vectors.
    """

    cluster_by: Literal["product_id", "none"] = "product_id"
    deletion_vectors: Literal["never", "always"] = "never"


class GpuExecutors(YamlSettings):
    """Executors for inference alone, by stage-level scheduling.

    All other stages run on the executors of Spark's own settings, which then need no GPU.
    `memory` is the JVM's, `memory_overhead` is for the Python workers, both as Spark writes
    them (12g).
    """

    cores: int = Field(gt=0)
    gpus: int = Field(default=1, gt=0)
    tasks_per_gpu: int = Field(default=1, gt=0)
    memory: str
    memory_overhead: str
    discovery_script: str = ""
    vendor: str = ""


class JobConfig(YamlSettings):
    """Settings of one catalog's refresh.

    Paths are as the configuration file writes them, until `starting_from` resolves those of
    baselines and of output for people. A share is in [0, 1].

    `image_hosts` are the web hosts that images are read from, each a name or name:port.
    `image_identity` None is `listing` in object stores, else `stat`. `image_inventory` is a
    table of the objects below the image root, which are then not listed: path, size, etag,
    modified.

    `lexicon` adds words that name labels to the checkpoint's, by attribute: {color: {navy:
    blue}}; null takes a word out. `languages` adds the words of whole languages, by their
    codes. `applies_to` lists the categories that an attribute applies to: {pattern: [Shirts,
    Dresses]}; of others it is not answered. `labels` gives labels the source's own names:
    {color: {grey: gray, turquoise: blue, multi: null}}. Two may become one, and null is never
    answered. In a source that looks unlike those of training, `unseen_source` strict answers
    less.

    Where the product table has a change feed, only products that may have changed are compared,
    but for a run each `full_diff_days`; 0 has every run compare all. With `--follow`, the gate also
    judges the last `follow_window` answered products together.

    `baselines` maps a catalog, as `--catalog` names it, to its label baseline file.
    `report_dir` receives each run's page, and `metrics_dir` the figures for Prometheus.
    """

    catalog: Location = DEMO_CATALOG
    image_root: Location | None = None
    database: str = Field(default="enriched", pattern=DATABASE_PATTERN)
    checkpoint: Location | None = None
    columns: ColumnNames = ColumnNames()
    allowed_image_roots: tuple[Location, ...] = ()
    image_hosts: tuple[str, ...] = ()
    image_lists: ImageLists = ImageLists()
    image_limits: ImageLimits = ImageLimits()
    image_reading: ImageReading = ImageReading()
    image_identity: ImageIdentity | None = None
    image_inventory: Location | None = None
    target_precision: float = DEFAULT_TARGET_PRECISION
    lexicon: dict[str, dict[str, str | None]] = Field(default={})
    languages: tuple[str, ...] = ()
    applies_to: dict[str, tuple[str, ...]] = Field(default={})
    labels: dict[str, dict[str, str | None]] = Field(default={})
    unseen_source: UnseenSource = UnseenSource.STRICT
    batch_size: int = Field(default=64, gt=0)
    read_threads: int = Field(default=4, gt=0)
    products_per_task: int = Field(default=2_000, gt=0)
    products_per_chunk: int = Field(default=100_000, gt=0)
    gpu_executors: GpuExecutors | None = None
    max_quarantined_share: Share = 0.2
    max_failed_images_share: Share = 0.5
    max_crashing_products: int = Field(default=10, ge=0)
    missing_products: MissingProducts = MissingProducts.KEEP
    max_deleted_share: Share = 0.1
    full_diff_days: int = Field(default=7, ge=0)
    follow_window: int = Field(default=1_000, ge=0)
    table_layout: TableLayout = TableLayout()
    baselines: dict[str, PlaceField] = Field(default={})
    data_docs: PlaceField | None = None
    report_dir: PlaceField | None = None
    metrics_dir: PlaceField | None = None
    log_format: LogFormat = LogFormat.TEXT

    @field_validator(
        "catalog", "image_root", "image_inventory", "checkpoint", "allowed_image_roots"
    )
    @classmethod
    def _without_secrets(
        cls, value: str | tuple[str, ...] | None, info: ValidationInfo
    ) -> str | tuple[str, ...] | None:
        for address in (value,) if isinstance(value, str) else value or ():
            refuse_secrets(address, str(info.field_name))
        return value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [code for code in codes if code not in LANGUAGES]:
            raise ValueError(f"found {unknown[0]}, expected some of {', '.join(LANGUAGES)}")
        return codes

    @field_validator("image_hosts")
    @classmethod
    def _names_of_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(_HOST, host):
                raise ValueError(
                    f"found '{host}', expected a host's name in small letters, such as "
                    "cdn.example.com, or name:port"
                )
        return hosts

    @property
    def own_words(self) -> dict[str, dict[str, str | None]]:
        """The words of `languages` and `lexicon` together; those of `lexicon` win."""
        words: dict[str, dict[str, str | None]] = {}
        given: list[Mapping[str, Mapping[str, str | None]]] = [
            *map(read_language, self.languages),
            self.lexicon,
        ]
        for named in given:
            for attribute, labels in named.items():
                words.setdefault(attribute, {}).update(labels)
        return words

    @property
    def deletes_missing(self) -> bool:
        """True if published rows are deleted when their product is missing."""
        return self.missing_products is MissingProducts.DELETE

    def starting_from(self, folder: Place) -> Self:
        """Return these settings with baselines and output for people below `folder`."""
        written = {"data_docs", "report_dir", "metrics_dir"}
        places = {name: place for name in written if (place := getattr(self, name))}
        given = {name: start_in(folder, place) for name, place in places.items()}
        baselines = {name: start_in(folder, file) for name, file in self.baselines.items()}
        return self.model_copy(update=given | {"baselines": baselines})
