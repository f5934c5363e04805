"""What happens when a task has failed for good: one line that machines can read, and a webhook.

Knows no service: whatever takes a POST of JSON can be told (a chat's incoming webhook, a pager).
"""

import json
import logging
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from airflow.sdk import Variable

# Airflow masks the values of Variables with "secret" in their names: such an address is a password.
WEBHOOK_VARIABLE = "catalog_alert_secret_url"
WEBHOOK_TIMEOUT_S = 10

log = logging.getLogger(__name__)


def report_failure(context: dict[str, Any]) -> None:
    """Logs the failure, and posts it to the webhook if there is one; an `on_failure_callback`."""
    failure = describe_failure(context)
    log.error("catalog_task_failed %s", json.dumps(failure))
    if webhook := Variable.get(WEBHOOK_VARIABLE, default=None):
        post(webhook, failure)


def describe_failure(context: dict[str, Any]) -> dict[str, Any]:
    """Returns what somebody who is woken by it wants to know first."""
    task_instance = context["ti"]
    # `text` is what the usual chats show.
    error = str(context.get("exception") or "the task's process ended")
    return {
        "text": f"{task_instance.dag_id}.{task_instance.task_id} failed: {error}",
        "dag_id": task_instance.dag_id,
        "task_id": task_instance.task_id,
        "run_id": task_instance.run_id,
        "try_number": task_instance.try_number,
        "error": error,
        "log_url": task_instance.log_url,
    }


def post(webhook: str, message: dict[str, Any]) -> None:
    """Sends JSON; that nobody could be told is logged, and hides no other error."""
    request = Request(
        webhook, json.dumps(message).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        urlopen(request, timeout=WEBHOOK_TIMEOUT_S).close()
    except (OSError, HTTPException, ValueError) as error:
        log.error("nobody was told: the webhook answers with %s", type(error).__name__)
