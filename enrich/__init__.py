"""The inference engine: products in, attributes with confidence out.

Runs with torch and without Spark, so it also runs alone on a GPU box. Only `enrich.spark` may
import pyspark. The names below are for other people's programs; each is imported when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enrich.classifiers.manifest import fetch_manifest as fetch_manifest
    from enrich.config import JobConfig as JobConfig
    from enrich.engine.engine import Engine as Engine
    from enrich.engine.spec import open_engine as open_engine
    from enrich.errors import CheckpointError as CheckpointError
    from enrich.errors import ConfigError as ConfigError
    from enrich.errors import EnrichError as EnrichError
    from enrich.records import EncodedProduct as EncodedProduct
    from enrich.records import EnrichedProduct as EnrichedProduct
    from enrich.records import Prediction as Prediction
    from enrich.records import Product as Product

_MODULES = {
    "Engine": "enrich.engine.engine",
    "open_engine": "enrich.engine.spec",
    "Product": "enrich.records",
    "EnrichedProduct": "enrich.records",
    "EncodedProduct": "enrich.records",
    "Prediction": "enrich.records",
    "JobConfig": "enrich.config",
    "fetch_manifest": "enrich.classifiers.manifest",
    "EnrichError": "enrich.errors",
    "ConfigError": "enrich.errors",
    "CheckpointError": "enrich.errors",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'enrich' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)
