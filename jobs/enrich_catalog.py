"""Enriches a product table: the main job.

    spark-submit jobs/enrich_catalog.py
    spark-submit jobs/enrich_catalog.py --catalog shop/products.parquet --database shop

The last line on standard output is one JSON object. Exit codes: 0 published or nothing to do,
2 wrong configuration, input or checkpoint, 3 nothing published, 1 anything else.
"""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from enrich.command_line import run_command
from jobs_composition import placeholder
