"""Settings that all DAGs share: one run at a time, retries, and alerts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from catalog_tasks.alerts import keep_error, report_failed_run

EVERY_DAG: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    # The first run after a pause reads all changes since, so missed days are not repeated.
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {
        # After 5, 10 and 20 minutes, to which Airflow adds up to as much again: long enough for a
        # cluster that restarts, short enough for a night.
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(hours=1),
        "on_failure_callback": keep_error,
    },
    "on_failure_callback": report_failed_run,
    "tags": ["catalog"],
}
