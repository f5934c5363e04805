"""Operator for jobs: run a job, read its outcome, decide about a retry.

The job is a child process in an environment of its own, or runs on a platform. Its interface is the
exit code, and one JSON object, on the last line or in a file.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from catalog_tasks.platforms import Platform, open_platform, read_outcome, wait_for_end

_THIS_CHECKOUT = Path(__file__).resolve().parents[2]

# Settings of a deployment, as templates that are filled in when a task starts. Each is an Airflow
# Variable, or the environment variable AIRFLOW_VAR_<NAME>. They are not read while a DAG file is
# parsed: Airflow parses every half minute, and would query its database each time. Blanks and line
# ends around a value, which Airflow's form allows, are removed.

# The checkout that holds the jobs and their environment `.venv`.
CHECKOUT = f"{{{{ var.value.get('catalog_checkout', {str(_THIS_CHECKOUT)!r}) | trim }}}}"
# More arguments for spark-submit itself, as in a shell: --master yarn --conf "spark.x=a b".
SPARK_SUBMIT = "{{ var.value.get('catalog_spark_submit', '') }}"
# Platform that runs the job, as JSON; empty: spark-submit on this machine.
PLATFORM = "{{ var.value.get('catalog_platform', '') | trim }}"
# Folder of the summary files of jobs that run on a platform.
SUMMARIES = "{{ var.value.get('catalog_summaries', '') | trim }}"

# One Spark application at a time: there is one GPU cluster, the tables have one writer, and the
# embedded metastore of a laptop lets in one process.
POOL = "gpu_cluster"

DONE = 0
WRONG_CONFIGURATION = 2
NOT_PUBLISHED = 3
# The same input would fail again, so a retry would only delay the person who has to check it.
NO_RETRY = {
    WRONG_CONFIGURATION: "wrong configuration, input or checkpoint",
    NOT_PUBLISHED: "nothing was published",
}

# For a wrong argument, spark-submit prints pages of usage, in which the argument is lost.
_DID_IT_START = (
    "Did it start? Look at the first lines of its log, and at the Variable catalog_spark_submit if "
    "that is set"
)

# Spark draws its progress bar over the line of the JSON object. These arguments come first, so that
# the Variable can override them.
_NO_PROGRESS_BAR = ("--conf", "spark.ui.showConsoleProgress=false")

# A command of util-linux. If this process is killed, on_kill is not called: Spark would run on
# beside the retry, which would find the metastore in use.
_UNTIL_THIS_PROCESS_ENDS = ("setpriv", "--pdeathsig", "TERM", "--")

# Airflow masks the values of Variables with "secret" in their names.
TOKEN_VARIABLE = "catalog_platform_secret_token"

# Errors of starting a process with a wrong folder, command or argument.
_NOT_STARTED = (FileNotFoundError, NotADirectoryError, PermissionError, ValueError)

# Variables for another Spark or Python, and Airflow's own, which may hold secrets.
_NOT_FOR_THE_JOB = ("SPARK_", "PYSPARK_", "PYTHON", "VIRTUAL_ENV", "AIRFLOW", "_AIRFLOW")
_FOR_THE_JOB = ("SPARK_LOCAL_IP", "SPARK_LOCAL_DIRS", "SPARK_SUBMIT_OPTS")


class SparkJob(BaseOperator):
    """Run `spark-submit jobs/<job> <flags>`, here or on a platform.

    The task returns the job's JSON object. Flags and their values are templated; True is a flag
    without value, "" is left out. After the `accepted` exit codes the task goes on.
    """

    template_fields = ("flags", "checkout", "spark_submit", "platform", "summaries")
    template_fields_renderers: ClassVar[dict[str, str]] = {"flags": "json"}

    def __init__(
        self,
        *,
        job: str,
        flags: Mapping[str, str | bool],
        accepted: Collection[int] = (DONE,),
        checkout: str = CHECKOUT,
        spark_submit: str = SPARK_SUBMIT,
        platform: str = PLATFORM,
        summaries: str = SUMMARIES,
        poll_s: float = 15,
        **task: Any,
    ) -> None:
        # With its default weights, Airflow would first start the task with most tasks after it: a
        # stage before a publish.
        super().__init__(pool=POOL, weight_rule="absolute", **task)
        self.job = job
        self.flags = dict(flags)
        self.accepted = tuple(accepted)
        self.checkout = checkout
        self.spark_submit = spark_submit
        self.platform = platform
        self.summaries = summaries
        self.poll_s = poll_s
        self.started: tuple[Platform, str] | None = None

    @cached_property
    def process(self) -> SubprocessHook:
        """Child process, in a process group of its own."""
        return SubprocessHook()

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the job to its end.

        Raises AirflowFailException if a retry would fail again, and AirflowException if it may
        succeed.
        """
        summary = self._run_elsewhere(context) if self.platform else self._run_here()
        for asset in self.outlets:
            context["outlet_events"][asset].extra = event_extra(summary)
        return summary

    def on_kill(self) -> None:
        """End Spark, its driver and its workers when Airflow ends the task."""
        if self.started is None:
            self.process.send_sigterm()
            return
        platform, job_id = self.started
        platform.cancel(job_id)

    def _run_elsewhere(self, context: Any) -> dict[str, Any]:
        """Run the job on the platform, and read the file that `--summary` names."""
        if not self.summaries:
            raise AirflowFailException(
                "the Variable catalog_summaries is missing: expected an address that the job can "
                "write to and Airflow can read, such as s3://bucket/summaries"
            )
        # Not a template: Airflow shows those.
        token = Variable.get(TOKEN_VARIABLE, default="")
        platform = open_platform(self.platform, token)
        ti = context["ti"]
        # Each try has a file of its own, so that an earlier try's file is not read.
        parts = (ti.dag_id, ti.run_id, ti.task_id, str(ti.try_number))
        name = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
        address = f"{self.summaries.rstrip('/')}/{name}.json"
        words = flag_words({**self.flags, "--summary": address})
        # Names of Kubernetes are short; the end has the number of the try.
        job_id = platform.start(self.job, words, name[-60:].strip("-"))
        self.started = platform, job_id
        try:
            ended = wait_for_end(platform, job_id, self.poll_s)
        except Exception:
            with suppress(Exception):
                platform.cancel(job_id)
            raise
        outcome = read_outcome(address)
        if outcome is None:
            raise AirflowException(
                f"{self.job} ended as {ended.state}, which may pass, and did not say how: "
                f"{address} tells nothing. Look at the platform's log of {job_id}"
            )
        exit_code = outcome.pop("exit_code")
        if exit_code not in self.accepted:
            raise failure(self.job, exit_code, json.dumps(outcome))
        return outcome

    def _run_here(self) -> dict[str, Any]:
        """Run the job by spark-submit on this machine, and read its last line."""
        spark_submit = ["spark-submit", *_NO_PROGRESS_BAR, *split_words(self.spark_submit)]
        command = [*spark_submit, f"jobs/{self.job}", *flag_words(self.flags)]
        env = job_environment(os.environ, self.checkout)
        try:
            ended = self.process.run_command(
                tie_to_this_process(command, env["PATH"]), env=env, cwd=self.checkout
            )
        except _NOT_STARTED as error:
            raise AirflowFailException(
                f"{self.job} cannot be started in {self.checkout}, which the Variable "
                f"catalog_checkout names: {error}"
            ) from error
        if ended.exit_code not in self.accepted:
            raise failure(self.job, ended.exit_code, ended.output)
        return read_summary(self.job, ended.output)


def split_words(spark_submit: str) -> list[str]:
    """Split more arguments for spark-submit as a shell does."""
    try:
        return shlex.split(spark_submit)
    except ValueError as error:
        raise AirflowFailException(
            f"the Variable catalog_spark_submit is not a command line: {error}"
        ) from error


def flag_words(flags: Mapping[str, str | bool]) -> list[str]:
    """Return flags as arguments, with `=`, so that a value is never taken for a flag."""
    return [name if value is True else f"{name}={value}" for name, value in flags.items() if value]


def job_environment(environment: Mapping[str, str], checkout: str) -> dict[str, str]:
    """Return the environment in which only the checkout's `.venv` is active."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _FOR_THE_JOB or not name.startswith(_NOT_FOR_THE_JOB)
    }
    job_bin = Path(checkout, ".venv", "bin")
    return kept | {"PATH": f"{job_bin}{os.pathsep}{environment.get('PATH', os.defpath)}"}


def tie_to_this_process(command: list[str], path: str) -> list[str]:
    """Return a command whose process gets SIGTERM when this process ends or is killed.

    Unchanged on a machine without setpriv, and for a command that is missing: its start then
    reports the error. Spark's Java gets the signal, and ends its Python processes.
    """
    are_there = all(shutil.which(one, path=path) for one in ("setpriv", command[0]))
    return [*_UNTIL_THIS_PROCESS_ENDS, *command] if are_there else command


def failure(job: str, exit_code: int, last_line: str) -> AirflowException:
    """Return the exception by which Airflow retries the task or fails it."""
    reason = NO_RETRY.get(exit_code)
    ended = f"{job} ended with exit code {exit_code}"
    line = _read_object(last_line) or {}
    # A validated run ends with its JSON line. Other failures may end with a line of a JSON log.
    error = line.get("error") or line.get("message") or last_line
    if exit_code == 1 and not line and not error.startswith("error:"):
        error = f"{error!r} is not a job's last word. {_DID_IT_START}"
    if reason is None:
        return AirflowException(f"{ended}, which may pass: {error}")
    return AirflowFailException(f"{ended} ({reason}), which a retry would not change: {error}")


def read_summary(job: str, last_line: str) -> dict[str, Any]:
    """Return the JSON object of a job's last line."""
    summary = _read_object(last_line)
    if summary is None:
        raise AirflowException(f"{job} ended well, but its last line is not JSON: {last_line!r}")
    return summary


def _read_object(last_line: str) -> dict[str, Any] | None:
    try:
        # A progress bar may come before the object on the same line; each state of it ends with \r.
        found = json.loads(last_line.rpartition("\r")[2])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def event_extra(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return an asset event's fields, by which consumers read this run's changes."""
    keys = ("run_id", "counts", "model_version", "table_versions")
    return {key: summary[key] for key in keys if key in summary}
