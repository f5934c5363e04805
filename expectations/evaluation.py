"""Lets Great Expectations evaluate checks over their figures, and write its pages.

Knows nothing of Spark, and of the run only its name.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlparse

import great_expectations as gx
from great_expectations.core import ExpectationValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from expectations.checks import Check
from expectations.suites import build_figures_table, build_suite

DOCS_SITE = "label_quality"

log = logging.getLogger("enrich")


def evaluate(
    name: str, checks: Mapping[str, Check], run_name: str, docs_dir: Path | None
) -> tuple[list[ExpectationValidationResult], str | None]:
    """Returns the results, in an order of their own, and the path of the pages' index.

    Args:
        name: of the suite.
        checks: what to evaluate, by the figures' names; none gives no result and no page.
        run_name: how the pages call this validation.
        docs_dir: local folder for the pages; None writes none.
    """
    if not checks:
        return [], None
    context = _open_context(docs_dir)
    source = context.data_sources.add_pandas("figures")
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("run")
    suite = context.suites.add(build_suite(name, checks))
    validation = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    outcome = validation.run(
        batch_parameters={"dataframe": build_figures_table(checks)},
        run_id=RunIdentifier(run_name=run_name, run_time=datetime.now(UTC)),
    )
    return outcome.results, _write_data_docs(context) if docs_dir else None


def _open_context(docs_dir: Path | None) -> EphemeralDataContext:
    """Returns a context that keeps everything in memory but the Data Docs pages.

    It becomes the process's current Great Expectations context.
    """
    site = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(docs_dir.resolve()) if docs_dir else None,
        },
    }
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            data_docs_sites={DOCS_SITE: site} if docs_dir else {},
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )


def _write_data_docs(context: EphemeralDataContext) -> str | None:
    """Writes the pages; returns their index, None where they cannot be written, which is logged."""
    try:
        index = Path(unquote(urlparse(context.build_data_docs()[DOCS_SITE]).path))
        # Films that advertise Great Expectations: most of a site's bytes, and shown on no page.
        for film in index.parent.glob("static/images/*.gif"):
            film.unlink()
        return str(index) if index.exists() else None
    except OSError as error:
        log.warning("Great Expectations' pages are missing: %s", error)
        return None
