"""Encodings and profiles that runs have stored, read without a Spark session.

Delta tables are read by delta-rs. A picture is known by its size and time, as in the diff: no
picture is opened.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from schemas.tables import Modalities, Status

from enrich.config import DEMO_FOLDER, home
from enrich.engine.spec import EngineSpec
from enrich.errors import ConfigError
from enrich.files.tables import is_delta, read_delta
from enrich.images.locations import local_path
from enrich.images.settings import ImageProblem, ImageStat
from enrich.images.store import ImageStore
from enrich.records import EncodedProduct, Product
from enrich.spark.diff import hash_content
from enrich.spark.rules import holds

_IMAGE_STATE = ("path", "size", "etag", "modified_at", "digest", "looked_at")
_ENCODING = (
    *("content_hash", "encoded_at", "status", "limits"),
    *("modalities", "error", "vectors"),
)


@dataclass(frozen=True, slots=True)
class StoredEncodings:
    """The encodings of one database, whose tables lie in `folder`."""

    folder: Path

    def find(self, products: Sequence[Product], settings: EngineSpec) -> dict[str, EncodedProduct]:
        """Return the encodings that hold for products as they are now, by product id.

        Left out are products that nothing was read of, and products whose picture would have to be
        opened to know it.

        Args:
            products: products with ids.
            settings: recipe of the engine whose encodings are wanted, and of its image store.

        Raises:
            ConfigError: the tables cannot be read.
        """
        states = self._read_image_states({one.image_path for one in products if one.image_path})
        store = settings.open_store()
        with ThreadPoolExecutor(settings.read_threads) as pool:
            hashes = [*pool.map(lambda one: _hash_unopened(one, store, states), products)]
        encodings = self._read_encodings({one for one in hashes if one}, settings)
        found = {}
        for product, content_hash in zip(products, hashes, strict=True):
            if encoding := encodings.get(content_hash or ""):
                found[product.product_id] = EncodedProduct(
                    product.product_id,
                    Status(encoding["status"]),
                    Modalities(encoding["modalities"]),
                    encoding["vectors"],
                    encoding["error"],
                    wording=(product.title, product.description),
                )
        return found

    def _read_image_states(self, paths: Iterable[str]) -> dict[str, dict]:
        """Return what was last seen of each picture, by path."""
        rows = self._read("images", _IMAGE_STATE, f"path IN ({_quote(paths)})")
        return {row["path"]: row for row in sorted(rows, key=lambda row: row["looked_at"])}

    def _read_encodings(self, hashes: Iterable[str], settings: EngineSpec) -> dict[str, dict]:
        """Return the encodings with vectors that hold (R3), by content."""
        rows = self._read(
            "encodings",
            _ENCODING,
            f"encoder_version = '{settings.encoder_version}' AND vectors IS NOT NULL "
            f"AND content_hash IN ({_quote(hashes)})",
        )
        limits = settings.limits_digest
        return {
            row["content_hash"]: row
            for row in sorted(rows, key=lambda row: row["encoded_at"])
            if holds(
                row["status"],
                has_same_limits=row["limits"] == limits,
                is_own=False,
                is_recent=False,
            )
        }

    def _read(self, table: str, columns: Sequence[str], where: str) -> list[dict]:
        return read_delta(self.folder / table, columns, where).to_pylist()


def _quote(texts: Iterable[str]) -> str:
    """Return texts as literals of DataFusion's SQL, in which a backslash is a letter."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in sorted(texts)) or "NULL"


def _hash_unopened(product: Product, store: ImageStore, states: Mapping[str, dict]) -> str | None:
    """Return a product's content_hash; None where its picture would have to be opened."""
    state = states.get(product.image_path or "", {})
    seen = (state.get("size"), state.get("etag"), state.get("modified_at"))

    def ask(image: str | None) -> str | None:
        found: ImageStat = store.stat(image)
        is_known = seen == (found.size, found.etag, found.modified_at)
        return state["digest"] if is_known else None

    try:
        digest = store.try_each(product.image_path, ask)
    except ImageProblem as problem:
        digest = str(problem.status)
    if digest is None:
        return None
    return hash_content(product.title, product.description, digest, product.image_path)


def open_stored(database: str) -> StoredEncodings:
    """Return the encodings of a database on this machine.

    Args:
        database: its name in the warehouse of this checkout, or the folder of its tables.

    Raises:
        ConfigError: its tables are not there.
    """
    folder = _locate(database)
    for table in ("encodings", "images"):
        if not is_delta(folder / table):
            raise ConfigError(
                f"database {database} has no stored encodings on this machine: found no Delta "
                f"table at {folder / table}. Name the folder of the tables, or leave --database "
                "out."
            )
    return StoredEncodings(folder)


def read_rise(database: str, source: str, encoder_version: str) -> float:
    """Return by how much thresholds rise in the source of a database, in log odds.

    0 for a source that no run has looked at with this encoder.

    Args:
        database: as `open_stored` takes it.
        source: the product table; the demo is a source of its own.

    Raises:
        ConfigError: its tables are not there.
    """
    where = f"encoder_version = {_quote([encoder_version])}"
    columns = ("source", "looked_at", "rise")
    rows = read_delta(_locate(database) / "source_profiles", columns, where).to_pylist()
    is_demo = source.endswith(DEMO_FOLDER)
    mine = [row for row in rows if row["source"].endswith(DEMO_FOLDER) == is_demo]
    return max(mine, key=lambda row: row["looked_at"])["rise"] if mine else 0.0


def _locate(database: str) -> Path:
    """Return the folder of a database's tables on this machine."""
    if "/" in database:
        return Path(local_path(database))
    # Of tables in another catalog than Spark's own nothing is on this machine.
    name = database.lower().removeprefix("spark_catalog.")
    return home() / "lakehouse" / "warehouse" / f"{name}.db"
