"""The job's configuration: one YAML file, validated, overridden by flags.

Nothing that training fixed appears here; it travels with the checkpoint. Imports no Spark.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from expectations.settings import ValidationSettings
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from schemas.labels import LANGUAGES, read_language

from enrich.calibration import DEFAULT_TARGET_PRECISION, UnseenSource
from enrich.errors import refuse_secrets
from enrich.images.settings import ImageLimits, ImageLists, ImageReading
from enrich.logs import LogFormat
from enrich.places import Place, PlaceField, start_in
from enrich.settings_files import YamlSettings

DEMO_CATALOG = "demo"
# Of its folder, in that of local tables.
DEMO_FOLDER = "demo_catalog"
# The variable that names the folder of local tables, pages and the demo catalog.
HOME = "CATALOG_ENRICH_HOME"

_PLAIN_NAME = "[A-Za-z_][A-Za-z0-9_]{0,99}"
_DATABASE = rf"({_PLAIN_NAME}\.)?{_PLAIN_NAME}"

# Shares of fewer rows say little: one bad product of three is no broken catalog.
MIN_ROWS_TO_ENFORCE = 200

_HOST = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}(:[0-9]{1,5})?"

Share = Annotated[float, Field(ge=0, le=1)]
# An empty one, of a variable that was not set, would be the working directory.
Location = Annotated[str, Field(min_length=1)]
ColumnName = Annotated[str, Field(min_length=1)]


def check_database(name: str) -> str:
    """Return a database's name; raise ValueError for a path or another text."""
    if not re.fullmatch(_DATABASE, name):
        raise ValueError(
            "expected a database's name of letters, digits and underscores, with a catalog's name "
            f"and a dot before it or without. {HOME}, or Spark's warehouse, is the tables' folder"
        )
    return name


DatabaseName = Annotated[str, AfterValidator(check_database)]


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
    """End of following a product table.

    `available` ends when a run has seen all that was there, `continuous` never.
    """

    AVAILABLE = "available"
    CONTINUOUS = "continuous"


class ColumnNames(YamlSettings):
    """Names of the product table's columns; None for a column that it lacks."""

    product_id: ColumnName = "product_id"
    """String or integer, unique, not null."""
    title: ColumnName | None = "title"
    """String, or null if your table has none. HTML markup is removed."""
    description: ColumnName | None = "description"
    """As `title`."""
    image_path: ColumnName | None = "image_path"
    """String, or null."""
    category: ColumnName | None = None
    """Text or integer. The classifier never reads it. Labels are counted and checked for each
    category.
    """
    priority: ColumnName | None = None
    """Number, also as text. Products with higher numbers are encoded first, those without a number
    last.
    """

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
    """Layout of product_attributes in files, for a table that is not there yet."""

    deletion_vectors: Literal["never", "always"] = "never"
    """With `always`, publishing 1 % of the products writes little more than these rows. Every
    reader must support deletion vectors: Spark and DuckDB do, the pyarrow reader of delta-rs does
    not. This counts when the job makes the table; [later](operations.md#maintenance) use SQL.
    """


class GpuExecutors(YamlSettings):
    """Executors for inference alone, by stage-level scheduling.

    All other stages run on the executors of Spark's own settings, which then need no GPU.
    """

    cores: int = Field(gt=0)
    """Cores of an executor."""
    gpus: int = Field(default=1, gt=0)
    """GPUs of an executor. Keep 1 and ask for more executors: with several GPUs in one executor,
    each worker loads a model on all of them.
    """
    tasks_per_gpu: int = Field(default=1, gt=0)
    """Tasks that share a GPU."""
    memory: str
    """Memory of the JVM, as Spark writes it: `12g`."""
    memory_overhead: str
    """Memory for the Python workers."""
    discovery_script: str = ""
    """Path of `jobs/conf/cluster/discover_gpus.sh` on the executors; required on YARN and
    Kubernetes.
    """
    vendor: str = ""
    """`nvidia.com`; required on Kubernetes."""


class JobConfig(YamlSettings):
    """Settings of one catalog's refresh.

    Paths are as the configuration file writes them, until `starting_from` resolves those of
    the baseline and of output for people. A share is in [0, 1]. docs/settings.md shows what stands
    below each setting.
    """

    catalog: Location = DEMO_CATALOG
    """Product table: a path, an address, or the name of a table. Flag `--catalog`."""
    image_root: Location | None = None
    """Folder or address where relative image paths start; by default [the product table's
    folder](input.md#images). Flag `--image-root`.
    """
    database: DatabaseName = "enriched"
    """Database of the output tables, with or without a catalog (`main.enriched`). Flag
    `--database`.
    """
    encodings_database: DatabaseName | None = None
    """[Another database](tables.md#several-databases) whose `encodings` and `images` are shared, so
    that a trial or a second label set opens no picture again.
    """
    temporary_folder: Location | None = None
    """Folder or address for a run's temporary Delta tables; by default beside the output tables."""
    checkpoint: Location | None = None
    """The classifier's checkpoint; by default the bundled one. Flag `--checkpoint`."""
    columns: ColumnNames = ColumnNames()
    """[Your column names](#columns)."""
    allowed_image_roots: tuple[Location, ...] = ()
    """More places from which images may be read."""
    image_hosts: tuple[str, ...] = ()
    """Web hosts from which [images by URL](input.md#images) may be read: `cdn.example.com`, or
    `name:port` for a port other than 80 and 443.
    """
    image_lists: ImageLists = ImageLists()
    image_limits: ImageLimits = ImageLimits()
    image_reading: ImageReading = ImageReading()
    image_identity: ImageIdentity | None = None
    """[How the job notices a changed image](#image-identity): `listing`, `stat` or `content`. By
    default `listing` for an object store, else `stat`.
    """
    image_inventory: Location | None = None
    """Table of the objects below the image root, [read instead of a listing](#image-identity)."""
    target_precision: float = DEFAULT_TARGET_PRECISION
    """Share of given labels that should be right: 0.9 or 0.95. With 0.95 fewer products get
    a label. Each value needs its own baseline.
    """
    lexicon: dict[str, dict[str, str | None]] = Field(default={})
    """Words that name labels, [in addition to the
    checkpoint's](tables.md#when-a-label-is-given): `{color: {navy: blue, rot: red}}`; `null`
    removes a word. Unknown attributes and labels are refused.
    """
    languages: tuple[str, ...] = ()
    """Languages of the texts other than English: `de, es, fr, it, nl, pt`. Their [words for colors
    and patterns](tables.md#other-languages) count as if they stood in `lexicon`.
    """
    applies_to: dict[str, tuple[str, ...]] = Field(default={})
    """Product categories to which an attribute
    [applies](attributes.md#what-it-does-not-apply-to): `{pattern: [Shirts, Dresses]}`. For others
    NULL is published. Needs `columns.category`.
    """
    labels: dict[str, dict[str, str | None]] = Field(default={})
    """[Your own names](attributes.md#labels-in-your-own-words) for labels: `{color: {grey: gray,
    turquoise: blue, multi: null}}`. Two labels may become one. A label with `null` is never given.
    """
    unseen_source: UnseenSource = UnseenSource.STRICT
    """`strict` gives fewer labels in a [source that looks unlike the training
    data](tables.md#unseen-sources); `calibrated` does not.
    """
    batch_size: int = Field(default=64, gt=0)
    """Products per forward pass."""
    read_threads: int = Field(default=4, gt=0)
    """Threads of a task that read and decode images, at least; a task with more cores has one per
    core. Raise it for a slow store: at 100 ms per image, 32 threads are eight times as fast.
    """
    products_per_task: int = Field(default=2_000, gt=0)
    """Products per Spark task."""
    products_per_chunk: int = Field(default=100_000, gt=0)
    """Least number of contents in one commit; products with the same text and picture are one
    content. Four commits run at a time, and a crash loses at most these four.
    """
    seconds_per_chunk: float = Field(default=30.0, ge=0)
    """If `products_per_chunk` contents take fewer seconds than this, a commit gets more contents.
    0: never.
    """
    gpu_executors: GpuExecutors | None = None
    """[Executors for encoding alone](#executors-for-encoding-alone)."""
    max_quarantined_share: Share = 0.2
    """Largest allowed share of [unreadable products](#too-many-unreadable-products) among new and
    changed ones. A larger one blocks the run, if there are at least 200 such products.
    """
    max_failed_images_share: Share = 0.5
    """The same for unreadable images, among new and changed products with an image."""
    max_crashing_products: int = Field(default=10, ge=0)
    """Number of products that may kill their Python process. If more do, the run ends with exit
    code 1.
    """
    missing_products: MissingProducts = MissingProducts.KEEP
    """`keep` or `delete` published rows whose product has left the product table. A run with
    `--limit` deletes none. After `--no-publish`, `--publish-run` deletes them.
    """
    max_deleted_share: Share = 0.1
    """Largest allowed share of rows to delete. With a larger one nothing is published, because the
    product table may be cut off.
    """
    full_diff_days: int = Field(default=7, ge=0)
    """For a Delta table with a change feed: days until a run compares all products again, instead
    of [only what may have changed](#only-what-may-have-changed). 0: always.
    """
    follow_window: int = Field(default=1_000, ge=0)
    """With [`--follow`](operations.md#follow-a-product-table), the number of products that the gate
    checks together: those of the run, and the last ones published before. 0: only the run's.
    """
    table_layout: TableLayout = TableLayout()
    baseline: PlaceField | None = None
    """[Baseline file](validation.md#make-a-baseline): the labels that this catalog should have."""
    report_dir: PlaceField | None = None
    """Folder for [each run's page](operations.md#the-page-of-a-run), `<run_id>.html`, and the list
    of runs, `index.html`.
    """
    metrics_dir: PlaceField | None = None
    """Folder for the [metrics of the last run](operations.md#logs-metrics-dry-run),
    `catalog_enrichment_<database>.prom`.
    """
    log_format: LogFormat = LogFormat.TEXT
    """`text` for people, or `json`, one object a line. Flag `--log-format`."""
    validation: ValidationSettings = ValidationSettings()
    """[Limits](#validation) beyond which a run is blocked."""

    @field_validator(
        *("catalog", "image_root", "image_inventory", "checkpoint", "allowed_image_roots"),
        "temporary_folder",
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
            if host.endswith((":80", ":443")):
                raise ValueError(
                    f"found '{host}', expected the name alone: URLs have these ports anyway"
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
        """Return these settings with the baseline and output for people below `folder`."""
        names = ("baseline", "report_dir", "metrics_dir")
        places = {name: place for name in names if (place := getattr(self, name))}
        given = {name: start_in(folder, place) for name, place in places.items()}
        return self.model_copy(update=given)
