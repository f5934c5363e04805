"""Keeps a checkpoint's answers to drawn products, for when the checkpoint itself is long gone.

A few thousand rows of labels and confidences are small enough to be committed; weights are not.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from schemas.tables import select_attributes

from enrich.drill.products import SEED, digest_products
from enrich.errors import ConfigError
from enrich.records import Product

OLD_ANSWERS = Path(__file__).with_name("old_checkpoint.parquet")


def keep_answers(
    file: Path, model_version: str, table: pa.Table, products: Sequence[Product]
) -> None:
    """Writes what `answer_products` returned, and a JSON file beside it: where it comes from."""
    kept = {"modalities": table["modalities"].dictionary_encode()}
    for name in select_attributes(table.column_names):
        kept[name] = table[name].dictionary_encode()
        confidences = table[f"{name}_confidence"].to_numpy()
        kept[f"{name}_confidence"] = pa.array(confidences.astype(np.float16))
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(kept), file, compression="zstd")
    origin = {
        "what": "answers of an earlier bundled checkpoint to drawn products, without flaws",
        "model_version": model_version,
        "products": len(products),
        "seed": SEED,
        "digest_of_products": digest_products(products),
        "made_by": "jobs/drill_gate.py --keep-old CHECKPOINT_FOLDER",
    }
    file.with_suffix(".json").write_text(json.dumps(origin, indent=2) + "\n")


def read_kept_answers(file: Path, products: Sequence[Product]) -> pa.Table:
    """Returns the kept answers to these products.

    Raises:
        ConfigError: they are about other products.
    """
    origin = json.loads(file.with_suffix(".json").read_text())
    if origin["digest_of_products"] != digest_products(products):
        raise ConfigError(
            f"{file} is about other products than are drawn now: take the checkpoint of "
            f"{origin['model_version']} from the repository's history and give its folder to "
            "--keep-old"
        )
    return pq.read_table(file)
