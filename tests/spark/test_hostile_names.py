"""Names from outside that would end up in SQL or in a path are refused before a session exists."""

import pytest
from job_script import load_job, run_job

from enrich.errors import ConfigError

DROP = "x'; DROP TABLE shop.product_attributes; --"
FLAGS = {
    "rollback": ["--run-id", "x", "--reason", "y"],
    "maintain_tables": [],
    "import_corrections": ["--file", "x.csv", "--by", "me"],
    "export_corrections": ["--output", "x.csv"],
    "build_label_baseline": ["--output", "x.json"],
}


@pytest.mark.parametrize(
    ("job", "name"),
    [
        *((job, DROP) for job in FLAGS),
        *(("rollback", name) for name in ("a.b.c", "a`b", "", "../up", "a b", "ä")),
    ],
)
def test_every_job_refuses_a_database_that_is_no_plain_name(job, name, capsys):
    assert run_job(load_job(job), *FLAGS[job], "--database", name) == 2
    assert "expected a database's name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("job", "flag"), [("rollback", "--reason"), ("import_corrections", "--by")]
)
@pytest.mark.parametrize("words", ["", " \t"])
def test_words_for_people_that_tell_nobody_anything_are_refused(job, flag, words, capsys):
    script = load_job(job)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(script, "open_session")
        assert run_job(script, *FLAGS[job], flag, words) == 2
    assert f"Invalid value for '{flag}': is blank" in capsys.readouterr().err


@pytest.mark.parametrize("run_id", ["../../up", "a/b", DROP, "a b", "x\n", "ä", "", "a" * 251])
def test_a_trigger_that_does_not_belong_into_sql_or_a_path_is_refused(run_id):
    with pytest.raises(ConfigError, match="is not usable"):
        load_job("enrich_catalog").check_trigger(run_id)
