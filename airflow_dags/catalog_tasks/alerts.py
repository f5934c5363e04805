"""Alerts about runs that have failed for good: a line of the log, and a webhook.

A task knows its error, but cannot report it when its process is killed, for example for its memory.
So a task only keeps its error. The process of Airflow that reads the DAG files alerts people, once
a run.

Any service that takes a POST of JSON will do (a chat's incoming webhook, a pager).
"""

import json
import logging
import time
from http.client import HTTPException, InvalidURL
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from airflow.sdk import Variable

# Airflow masks the values of Variables with "secret" in their names: such an address is a password.
WEBHOOK_VARIABLE = "catalog_alert_secret_url"
# The cause of a failed run may also fail its alert, such as a network that is down for a moment.
# All tries, and reading the DAG file, must fit into the 50 s that Airflow gives a callback.
WEBHOOK_TIMEOUT_S = 10
MOST_TRIES = 3
PAUSE_S = 5
ALL_TRIES_S = 45
# Statuses of 4xx that may pass when the same message is sent again.
_MAY_PASS = (408, 425, 429)

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
    end = time.monotonic() + ALL_TRIES_S
    for left in reversed(range(MOST_TRIES)):
        began = time.monotonic()
        error = _try_to_post(webhook, message)
        if error is None:
            return
        # The next try may take as long as this one, and longer than the timeout, which does not
        # limit the wait for a name server.
        now = time.monotonic()
        is_in_time = now + PAUSE_S + (now - began) <= end
        if not left or not is_in_time or _is_final(error):
            break
        time.sleep(PAUSE_S)
    answer = f"status {error.code}" if isinstance(error, HTTPError) else type(error).__name__
    log.error("nobody was told: the webhook answers with %s", answer)


def _is_final(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return 400 <= error.code < 500 and error.code not in _MAY_PASS
    return isinstance(error, (ValueError, InvalidURL))


def _try_to_post(webhook: str, message: dict[str, Any]) -> Exception | None:
    headers = {"Content-Type": "application/json"}
    try:
        request = Request(webhook, json.dumps(message).encode(), headers=headers)
        urlopen(request, timeout=WEBHOOK_TIMEOUT_S).close()
    except (OSError, HTTPException, ValueError) as error:
        return error
    return None
