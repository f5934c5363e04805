"""The inference engine: products in, attributes with confidence out.

Runs with torch and without Spark, so it also runs alone on a GPU box. Only `enrich.spark` may
import pyspark. The names below are for other people's programs; each is imported when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enrich.classifiers.manifest import fetch_manifest
    from enrich.config import JobConfig
    from enrich.engine.engine import Engine
    from enrich.engine.spec import open_engine
    from enrich.errors import CheckpointError, ConfigError, EnrichError
    from enrich.records import EncodedProduct, EnrichedProduct, Prediction, Product

_EXPORTS = {
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
__all__ = [
    "CheckpointError",
    "ConfigError",
    "EncodedProduct",
    "Engine",
    "EnrichError",
    "EnrichedProduct",
    "JobConfig",
    "Prediction",
    "Product",
    "fetch_manifest",
    "open_engine",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'enrich' has no attribute '{name}'")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_EXPORTS]
