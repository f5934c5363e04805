"""A cluster whose master is not there, as with a mistyped port: one message, no pages of Java."""

import socket

import pytest
from own_lakehouse import JOB, Lakehouse

pytestmark = [pytest.mark.spark, pytest.mark.long]


def test_job_without_a_master_says_so_in_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        # Bound and silent: nobody else takes it meanwhile.
        master = f"spark://127.0.0.1:{free.getsockname()[1]}"
        ended = Lakehouse(tmp_path).submit("--master", master, JOB)

    said = ended.output + ended.errors
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert ended.code == 1
    assert len(errors) == 1, said
    assert f"Spark's master at {master} does not answer" in errors[0]
    assert "Traceback" not in said and "\tat " not in said
