"""Lines for people and lines for collectors: their fields, and what must never be in them."""

import json
import logging
import sys
import warnings
from types import SimpleNamespace

import pytest

from enrich.cli import run_command
from enrich.errors import ConfigError
from enrich.logs import LogFormat, bind_run, start_logging

log = logging.getLogger("enrich.spark.run")


def lines(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_every_json_line_has_time_level_message_and_the_fields_of_its_run(capsys):
    start_logging(LogFormat.JSON)
    log.info("survey ...", extra={"stage": "survey"})
    bind_run("monday")
    counts = {"read": 6, "abstained": {"color": 1}}
    log.info("done: %s", "published", extra={"seconds": 1.5, "counts": counts})
    log.warning("two\nlines, and «ü»")

    first, second, third = lines(capsys)
    assert first.items() >= {"level": "info", "message": "survey ...", "stage": "survey"}.items()
    assert "run_id" not in first and first["time"].endswith("Z")
    assert (second["run_id"], second["seconds"], second["counts"]) == ("monday", 1.5, counts)
    assert second["message"] == "done: published"
    assert (third["level"], third["message"]) == ("warning", "two\nlines, and «ü»")


def test_only_known_fields_are_written(capsys):
    start_logging(LogFormat.JSON)
    log.info("x", extra={"title": "a product's text", "stage": "survey"})
    assert "title" not in lines(capsys)[0]


@pytest.mark.parametrize("log_format", LogFormat)
def test_no_line_shows_a_password(log_format, capsys):
    address = "s3://AKIA:hunter2@bucket"
    start_logging(log_format)
    log.info("reading %s", address, extra={"stage": address, "counts": {"at": [address]}})
    try:
        raise ValueError(address)
    except ValueError:
        log.exception("failed")
    text = capsys.readouterr().err
    assert "hunter2" not in text and "s3://***@bucket" in text and "Traceback" in text


def test_text_is_a_line_with_the_time(capsys):
    start_logging()
    log.info("survey ...", extra={"stage": "survey"})
    time, message = capsys.readouterr().err.split(" ", 1)
    assert len(time) == len("12:00:00") and message == "survey ...\n"


def test_a_library_s_warning_is_a_json_line_too(capsys):
    start_logging(LogFormat.JSON)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("deprecated", stacklevel=1)
    assert "deprecated" in lines(capsys)[0]["message"]


def test_a_job_s_error_is_a_json_line_where_those_are_asked_for(monkeypatch, capsys):
    def main():
        start_logging(LogFormat.JSON)
        raise ConfigError("found this")

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    (line,) = lines(capsys)
    assert (end.value.code, line["level"], line["message"]) == (2, "error", "found this")


@pytest.mark.parametrize("log_format", LogFormat)
def test_an_unexpected_error_shows_where_it_was_but_no_values(log_format, monkeypatch, capsys):
    def main():
        start_logging(log_format)
        title = "a product's " + "text"
        raise KeyError(len(title))

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    text = capsys.readouterr().err
    assert end.value.code == 1
    assert "KeyError: 16" in text and "Traceback" in text and "product's text" not in text
    assert len(text.splitlines()) == 1 or log_format is LogFormat.TEXT


class _JavaError(Exception):
    """Says what py4j's errors do: Java's printed stack, line end included, while Java lives."""

    def __init__(self, java_exception):
        self.java_exception = java_exception

    def __str__(self):
        return f"calling o45.save\n: {self.java_exception.getMessage()}\n\tat java.lang.Thread\n"


@pytest.mark.parametrize(("message", "told"), [("Job aborted.\nx", "Job aborted."), (None, "")])
@pytest.mark.parametrize("log_format", LogFormat)
def test_the_last_line_says_what_an_unexpected_error_was_whatever_a_stack_ends_with(
    log_format, message, told, monkeypatch, capsys
):
    def says():
        if message is None:
            raise ConnectionError("Java is gone")
        return message

    def main():
        start_logging(log_format)
        raise _JavaError(SimpleNamespace(getMessage=says))

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 1
    *_, last = capsys.readouterr().err.splitlines()
    if log_format is LogFormat.JSON:
        last = f"error: {json.loads(last)['message']}"
    assert last == f"error: unexpected _JavaError: {told or '_JavaError'}"
