"""A checkpoint's answers to products, sound or with a fault.

They take minutes, and stay in a folder for the next drill.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from enrich.classifiers.manifest import read_manifest
from enrich.drill.faults import Fault, build_faulty_engine
from enrich.drill.products import digest_products
from enrich.files.whole import whole_file
from enrich.progress import watch
from enrich.records import Product
from enrich.rows import to_table
from enrich.spec import default_spec


def answer_products(
    cache: Path,
    checkpoint: Path,
    image_root: Path,
    products: Sequence[Product],
    fault: Fault | None = None,
) -> tuple[str, pa.Table]:
    """Returns the model_version and its answers, one row a product, in order.

    What was answered before is read from the folder `cache`.
    """
    manifest = read_manifest(checkpoint)
    spec = default_spec(manifest, str(image_root.resolve()))
    file = cache / f"{spec.model_version}-{fault or 'sound'}-{digest_products(products)}.parquet"
    if not file.exists():
        engine = build_faulty_engine(spec, manifest, fault, torch.device("cpu"))
        title = f"answering, {fault or 'sound'}"
        encoded = list(watch(engine.encode(products), title, len(products)))
        answers = to_table(encoded, engine.answerer, spec.attributes, spec.model_version)
        table = pa.Table.from_batches([answers])
        with whole_file(file) as partial:
            pq.write_table(table.drop_columns(["predictions", "model_version", "error"]), partial)
    return spec.model_version, pq.read_table(file)
