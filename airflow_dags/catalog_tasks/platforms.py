"""Platforms that run jobs: the Spark operator on Kubernetes, Databricks, EMR.

The Variable `catalog_platform` chooses one, as a JSON object with `kind` and the keys of its class.
Kubernetes and Databricks are called by their REST interfaces; EMR needs the Amazon provider. The
outcome of a job is read from the file that its `--summary` names: a platform reports neither exit
codes nor the job's last line.
"""

import json
import logging
import shlex
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from airflow.sdk.exceptions import AirflowException, AirflowFailException

log = logging.getLogger(__name__)

VARIABLE = "catalog_platform"
# Where Kubernetes puts a pod's own account.
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_AUTHORITY = _ACCOUNT / "ca.crt"
_PACKAGES = "/opt/enrich/lib/python3.11/site-packages/jobs"
# A job's command of `catalog-enrich`, for platforms that run a wheel and not a file.
COMMANDS = {"enrich_catalog.py": "enrich", "maintain_tables.py": "maintain"}
REQUEST_S = 30
# The job runs on while a platform does not answer for this time.
SILENCE_S = 600
# Time for a job to begin, a setting of each platform.
START_S = 1800
# The Spark operator says SUBMITTED while the driver's pod is pending; QUEUED and BLOCKED are of
# Databricks.
_NOT_BEGUN = ("NEW", "PENDING", "SUBMITTED", "QUEUED", "BLOCKED")
# Between tries to read a summary.
_READ_AGAIN_S = (5, 30, 120)


class JobState(NamedTuple):
    """State of a job on a platform; `is_over` for its last one."""

    is_over: bool
    state: str


class Platform(Protocol):
    """Platform that runs jobs. Errors are OSError and HTTPException."""

    @property
    def start_s(self) -> float:
        """Seconds within which a job has to begin."""

    def start(self, job: str, words: Sequence[str], name: str) -> str:
        """Start a job with arguments; return its id. `name` fits Kubernetes' names."""

    def poll(self, job_id: str) -> JobState:
        """Return the state of a job that was started."""

    def cancel(self, job_id: str) -> None:
        """End a job, whatever its state."""


@dataclass(frozen=True)
class Kubernetes:
    """Spark operator. `application` is a file with a SparkApplication in JSON.

    Arguments and main file are filled in. The defaults of `api` and `token` are the pod's.
    """

    application: str
    namespace: str = "enrich"
    api: str = "https://kubernetes.default.svc"
    token: str = ""
    jobs: str = _PACKAGES
    start_s: float = START_S

    def start(self, job: str, words: Sequence[str], name: str) -> str:
        """Create a SparkApplication."""
        spec = {"arguments": [*words], "mainApplicationFile": f"local://{self.jobs}/{job}"}
        try:
            found = json.loads(Path(self.application).read_text())
            found["metadata"] = {**found["metadata"], "namespace": self.namespace, "name": name}
            found["metadata"].pop("generateName", None)
            found["spec"] = {**found["spec"], **spec}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AirflowFailException(
                f"{self.application} is not usable: expected a SparkApplication in JSON, as "
                f"`kubectl create --dry-run=client -o json -f FILE` prints it, found {error!r}"
            ) from error
        return self._ask("POST", "", found)["metadata"]["name"]

    def poll(self, job_id: str) -> JobState:
        """Read the application's state."""
        status = self._ask("GET", f"/{job_id}").get("status", {})
        state = status.get("applicationState", {}).get("state", "")
        return JobState(state in ("COMPLETED", "FAILED", "SUBMISSION_FAILED"), state or "NEW")

    def cancel(self, job_id: str) -> None:
        """Delete the application and its pods."""
        self._ask("DELETE", f"/{job_id}")

    def _ask(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        group = "apis/sparkoperator.k8s.io/v1beta2"
        url = f"{self.api}/{group}/namespaces/{self.namespace}/sparkapplications{path}"
        # Read anew each time: Kubernetes replaces it every hour.
        token = self.token or _read_token()
        # Of another cluster the pod's authority knows nothing.
        authority = None if self.token or not _AUTHORITY.exists() else _AUTHORITY
        return ask(method, url, token, content, authority)


def _read_token() -> str:
    """Return the token of the pod's account."""
    try:
        return (_ACCOUNT / "token").read_text()
    except OSError as error:
        raise AirflowFailException(
            f"Kubernetes cannot be asked: found no pod's account ({error}), expected one, or the "
            "Variable catalog_platform_secret_token"
        ) from error


@dataclass(frozen=True)
class Databricks:
    """A job that the bundle has deployed, by its number."""

    host: str
    job: int
    token: str = ""
    start_s: float = START_S

    def start(self, job: str, words: Sequence[str], name: str) -> str:
        """Run the job with other arguments."""
        body = {"job_id": self.job, "python_params": [COMMANDS[job], *words]}
        return str(self._ask("POST", "run-now", body)["run_id"])

    def poll(self, job_id: str) -> JobState:
        """Read the run's state."""
        state = self._ask("GET", f"runs/get?run_id={quote(job_id)}")["state"]
        is_over = state["life_cycle_state"] in ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
        return JobState(is_over, state.get("result_state") or state["life_cycle_state"])

    def cancel(self, job_id: str) -> None:
        """Cancel the run."""
        self._ask("POST", "runs/cancel", {"run_id": int(job_id)})

    def _ask(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        return ask(method, f"{self.host.rstrip('/')}/api/2.2/jobs/{path}", self.token, content)


@dataclass(frozen=True)
class Emr:
    """Cluster of EMR on EC2: the job's arguments follow the shell's `command`.

    The job's file is in the environment variable JOB, as deploy/yarn/submit.sh reads it.
    """

    cluster: str
    command: str
    connection: str = "aws_default"
    token: str = ""
    start_s: float = START_S

    def start(self, job: str, words: Sequence[str], name: str) -> str:
        """Add a step."""
        run = f"export JOB={shlex.quote(job)}; {self.command} {shlex.join(words)}"
        jar = {"Jar": "command-runner.jar", "Args": ["bash", "-c", run]}
        step = {"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        return self._client().add_job_flow_steps(JobFlowId=self.cluster, Steps=[step])["StepIds"][0]

    def poll(self, job_id: str) -> JobState:
        """Read the step's state."""
        try:
            found = self._client().describe_step(ClusterId=self.cluster, StepId=job_id)
        except Exception as error:  # botocore's errors have no base of Python's own
            raise OSError(f"EMR does not tell the step's state: {error}") from error
        state = found["Step"]["Status"]["State"]
        return JobState(state in ("COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"), state)

    def cancel(self, job_id: str) -> None:
        """Cancel the step and end its process."""
        option = "TERMINATE_PROCESS"
        self._client().cancel_steps(
            ClusterId=self.cluster, StepIds=[job_id], StepCancellationOption=option
        )

    def _client(self) -> Any:
        # Imported here: the provider is optional.
        from airflow.providers.amazon.aws.hooks.emr import EmrHook

        return EmrHook(aws_conn_id=self.connection).get_conn()


_KINDS: Mapping[str, type[Any]] = {"kubernetes": Kubernetes, "databricks": Databricks, "emr": Emr}


def open_platform(chosen: str, token: str) -> Platform:
    """Return the platform that the Variable describes.

    Raises AirflowFailException if the description is not valid.
    """
    try:
        given = json.loads(chosen)
        kind = _KINDS[given.pop("kind")]
        return kind(**given, **({"token": token} if token else {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AirflowFailException(
            f"the Variable {VARIABLE} is not usable: expected a JSON object with 'kind' "
            f"({', '.join(_KINDS)}) and the keys of docs/airflow.md, found {error!r}"
        ) from error


def ask(
    method: str, url: str, token: str, content: Any = None, authority: Path | None = None
) -> dict[str, Any]:
    """Call a REST interface, and return its JSON object.

    Raises AirflowFailException if the request is refused, and would be again, and OSError or
    HTTPException without an answer, or for a temporary error.
    """
    body = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Bearer {token.strip()}", "Content-Type": "application/json"}
    request = Request(url, body, headers, method=method)
    trusted = ssl.create_default_context(cafile=authority) if url.startswith("https:") else None
    try:
        with urlopen(request, timeout=REQUEST_S, context=trusted) as answer:
            return json.loads(answer.read() or b"{}")
    except HTTPError as error:
        if error.code >= 500 or error.code in (408, 409, 425, 429):
            raise
        said = error.read(500).decode(errors="replace")
        raise AirflowFailException(
            f"{method} {url} is refused with {error.code}: {said}"
        ) from error
    except ValueError as error:
        raise OSError(f"{method} {url} is answered with another text than JSON") from error


def wait_for_end(
    platform: Platform, job_id: str, poll_s: float, sleep: Callable[[float], None] = time.sleep
) -> JobState:
    """Wait until a job is over, and return its state.

    Raises AirflowException if the platform has not answered for ten minutes, or not begun the job
    within its `start_s`.
    """
    begun_at = answered_at = time.monotonic()
    before = ""
    while True:
        try:
            state = platform.poll(job_id)
        except (OSError, HTTPException) as error:
            silence = time.monotonic() - answered_at
            log.warning("the platform does not answer: %s", error)
            if silence > SILENCE_S:
                raise AirflowException(
                    f"the platform has not answered for {silence:,.0f} s: {error}"
                ) from error
        else:
            answered_at = time.monotonic()
            if state.state != before:
                log.info("%s: %s", job_id, state.state)
                before = state.state
            if state.is_over:
                return state
            waited_s = answered_at - begun_at
            if state.state in _NOT_BEGUN and waited_s > platform.start_s:
                raise AirflowException(
                    f"the platform has not begun {job_id} for {waited_s:,.0f} s: its state is "
                    f"{state.state}. Look at its resources, or raise start_s in {VARIABLE}"
                )
        sleep(poll_s)


def read_outcome(
    address: str, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any] | None:
    """Return the content of a job's `--summary`, None if it is missing or incomplete.

    For an object store, Airflow needs the provider of that store. Raises AirflowFailException if it
    cannot be read. The job may have ended well: it is not repeated.
    """
    text = ""
    for wait_s in (*_READ_AGAIN_S, None):
        try:
            text = _read_text(address)
            break
        except FileNotFoundError:
            break
        except Exception as error:  # of the store's own client
            log.warning("%s cannot be read: %s", address, error)
            if wait_s is None:
                raise AirflowFailException(
                    f"the job has ended, and its summary {address} cannot be read: {error}. Look "
                    "at it and at run_events before you clear this task"
                ) from error
            sleep(wait_s)
    try:
        found = json.loads(text)
    except ValueError:
        return None
    is_whole = isinstance(found, dict) and found.get("exit_code") is not None
    return found if is_whole else None


def _read_text(address: str) -> str:
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(address).read_text()
