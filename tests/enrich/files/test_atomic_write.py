"""Files and folders that others see whole or not at all."""

import shutil

import pytest

from enrich.places import atomic_write, atomic_write_folder


def test_a_file_whose_writing_fails_stays_as_it_was_and_nothing_lies_beside_it(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("yesterday's")

    with pytest.raises(OSError, match="disk"), atomic_write(file) as partial:
        partial.write_text("tod")
        raise OSError("disk is full")

    assert file.read_text() == "yesterday's"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_file_is_not_there_before_all_of_it_is(tmp_path):
    file = tmp_path / "new" / "folder" / "page.html"

    with atomic_write(file) as partial:
        partial.write_text("today's")
        assert not file.exists()

    assert file.read_text() == "today's"


def test_of_two_that_write_at_a_time_the_last_one_s_stays_whole(tmp_path):
    file = tmp_path / "page.html"

    with atomic_write(file) as first:
        first.write_text("first")
        with atomic_write(file) as second:
            second.write_text("second")
        assert file.read_text() == "second"

    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_whose_writing_fails_stays_as_it_was_and_nothing_lies_beside_it(
    tmp_path, is_there
):
    folder = tmp_path / "checkpoint"
    if is_there:
        folder.mkdir()
        (folder / "config.json").write_text("yesterday's")

    with pytest.raises(OSError, match="disk"), atomic_write_folder(folder) as partial:
        (partial / "config.json").write_text("tod")
        raise OSError("disk is full")

    found = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert found == (["yesterday's"] if is_there else [])
    assert [path.name for path in tmp_path.iterdir()] == (["checkpoint"] if is_there else [])


def test_a_folder_that_is_there_is_replaced(tmp_path):
    folder = tmp_path / "new" / "checkpoint"
    for name in ("yesterday.json", "today.json"):
        with atomic_write_folder(folder) as partial:
            (partial / name).touch()

    assert [file.name for file in folder.iterdir()] == ["today.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_process_that_is_killed_while_it_replaces_a_folder_loses_neither(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    with atomic_write_folder(folder) as partial:
        (partial / "yesterday.json").touch()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic_write_folder(folder) as partial:
        (partial / "today.json").touch()
        monkeypatch.setattr(shutil, "rmtree", killed)

    assert {one.name for one in tmp_path.rglob("*.json")} == {"yesterday.json", "today.json"}


def test_two_writers_of_a_folder_do_not_meet(tmp_path):
    folder = tmp_path / "checkpoint"
    with atomic_write_folder(folder) as one:
        (one / "one.json").touch()
        with atomic_write_folder(folder) as other:
            (other / "other.json").touch()
    assert [path.name for path in folder.iterdir()] == ["one.json"]
