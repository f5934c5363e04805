"""Alerts about runs that have failed for good: a line of the log, and a webhook.

A task knows its error, but cannot report it when its process is killed, for example for its memory.
So a task only keeps its error. The process of Airflow that reads the DAG files alerts people, once
a run.

Any service that takes a POST of JSON will do (a chat's incoming webhook, a pager).
"""

import json
import logging
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from airflow.sdk import Variable

# Airflow masks the values of Variables with "secret" in their names: such an address is a password.
WEBHOOK_VARIABLE = "catalog_alert_secret_url"
# Airflow gives a callback 50 s, reading the DAG file included.
WEBHOOK_TIMEOUT_S = 10

# The XCom of a failed task; Airflow deletes it when the task starts again.
ERROR = "error"
NO_ERROR = "its process was killed, for its memory perhaps, or a person marked it as failed"

log = logging.getLogger(__name__)


def keep_error(context: dict[str, Any], found: str = "") -> None:
    """Log a task's failure, and keep its error for the run's alert.

    A task's `on_failure_callback`. `found`, where the task knows more than Airflow, comes before
    Airflow's message.
    """
    # Without an exception this is not the task's own process, and others cannot write its XCom.
    if exception := context.get("exception"):
        error = ". ".join(filter(None, (found, str(exception) or repr(exception))))
        log.error("catalog_task_failed %s", json.dumps(describe_failure(context, error)))
        context["ti"].xcom_push(key=ERROR, value=error)


def report_failed_run(context: dict[str, Any]) -> None:
    """Log a run's failure and post it to the webhook; a DAG's `on_failure_callback`."""
    task_instance = context.get("ti")
    try:
        error = task_instance.xcom_pull(key=ERROR) if task_instance else context["reason"]
    except Exception:
        log.exception("the error of %s cannot be read", context["run_id"])
        error = None
    failure = describe_failure(context, error or NO_ERROR)
    log.error("catalog_run_failed %s", json.dumps(failure))
    if webhook := Variable.get(WEBHOOK_VARIABLE, default="").strip():
        post(webhook, failure)


def describe_failure(context: dict[str, Any], error: str) -> dict[str, Any]:
    """Return the most important facts of a failure; chats show `text`."""
    failed = context["dag"].dag_id
    failure = {"dag_id": failed, "run_id": context["run_id"], "error": error}
    # For a failed run, Airflow's context has the task that failed last, if there is one.
    if task_instance := context.get("ti"):
        failed += f".{task_instance.task_id}"
        failure |= {
            "task_id": task_instance.task_id,
            "try_number": task_instance.try_number,
            "log_url": task_instance.log_url,
        }
    return {"text": f"{failed} failed: {error}", **failure}


def post(webhook: str, message: dict[str, Any]) -> None:
    """Send JSON. A failure is logged, not raised: it would hide the reported error."""
    headers = {"Content-Type": "application/json"}
    try:
        request = Request(webhook, json.dumps(message).encode(), headers=headers)
        urlopen(request, timeout=WEBHOOK_TIMEOUT_S).close()
    except (OSError, HTTPException, ValueError) as error:
        # An error's own text may hold the address, which is a secret.
        answer = f"status {error.code}" if isinstance(error, HTTPError) else type(error).__name__
        log.error("nobody was told: the webhook answers with %s", answer)
