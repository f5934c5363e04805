"""jobs/rollback.py: what was restored is told, whatever becomes of the pages."""

import json
from types import SimpleNamespace

from job_script import load_job, run_job

from enrich.errors import ConfigError


def test_a_page_that_cannot_be_written_is_a_warning(monkeypatch, capsys):
    def fail(*_):
        raise ConfigError("gone is not a checkpoint")

    job, tables = load_job("rollback"), SimpleNamespace(version=lambda _: 7)
    done = {"open_session": None, "open_tables": tables, "roll_back": ["run-2", "run-3"]}
    for name, value in done.items():
        monkeypatch.setattr(job, name, lambda *_, value=value: value)
    monkeypatch.setattr(job, "rewrite_page", fail)
    monkeypatch.setattr(job, "print_json_line", lambda line: print(json.dumps(line)))

    flags = ("--catalog", "shop.products", "--checkpoint", "gone", "--image-root", "images")
    assert run_job(job, *flags, "--run-id", "run-2", "--reason", "pink") == 0

    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["rolled_back"] == ["run-2", "run-3"]
    assert "the page of run run-3 stays as it is: gone is not a checkpoint" in said.err
