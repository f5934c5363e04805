"""Setup of a runner: products, checkpoint and number of cores."""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from enrich.classifiers.manifest import read_manifest
from enrich.config import JobConfig
from enrich.engine.spec import EngineSpec, build_spec
from enrich.files.products import read_products
from enrich.records import Product


class Setup(BaseModel):
    """One combination that is measured.

    `batch_size` products go through the model at once, with every runner.
    """

    model_config = ConfigDict(frozen=True)

    products_file: Path
    checkpoint: Path
    cores: int
    products: int
    batch_size: int = JobConfig().batch_size

    @property
    def tasks(self) -> int:
        """How many tasks the job runs at once: one a core, and four where they share a GPU."""
        return min(4, self.cores) if torch.cuda.is_available() else self.cores

    def config(self) -> JobConfig:
        """Returns the job's settings; those that are not measured are defaults."""
        return JobConfig(checkpoint=str(self.checkpoint), batch_size=self.batch_size)

    def spec(self) -> EngineSpec:
        """Returns the recipe of the engine."""
        manifest = read_manifest(self.checkpoint)
        return build_spec(self.config(), manifest, str(self.products_file.parent))

    def measured_products(self) -> list[Product]:
        """Returns the products that are measured."""
        table = read_products(self.products_file, self.products)
        return [Product(**row) for row in table.to_pylist()]
