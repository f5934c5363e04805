"""Files and folders that others see whole or not at all."""

from pathlib import Path

import pytest

from enrich.files.atomic_write import atomic_write, atomic_write_folder


def test_a_file_whose_writing_fails_stays_as_it_was_and_nothing_lies_beside_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "page.html"
    file.write_text("yesterday's")

    with pytest.raises(OSError, match="disk"), atomic_write(file) as partial:
        partial.write_text("tod")
        raise OSError("disk is full")

    assert file.read_text() == "yesterday's"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_file_is_not_there_before_all_of_it_is(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "page.html"

    with atomic_write(file) as partial:
        partial.write_text("today's")
        assert not file.exists()

    assert file.read_text() == "today's"


def test_of_two_that_write_at_a_time_the_last_one_s_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "page.html"

    with atomic_write(file) as first:
        first.write_text("first")
        with atomic_write(file) as second:
            second.write_text("second")
        assert file.read_text() == "second"

    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".page [1].html.0123abcd.partial"
    left.write_text("tod")

    with atomic_write(tmp_path / "page [1].html") as partial:
        partial.write_text("today's")

    assert [path.name for path in tmp_path.iterdir()] == ["page [1].html"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_whose_writing_fails_stays_as_it_was_and_nothing_lies_beside_it(
    tmp_path: Path, is_there: bool
) -> None:
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


def test_a_folder_that_is_there_gets_the_new_files_and_keeps_its_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "checkpoint"
    for content in ("yesterday's", "today's"):
        with atomic_write_folder(folder) as partial:
            (partial / "config.json").write_text(content)
        (folder / "notes.txt").write_text("mine")

    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "config.json": "today's",
        "notes.txt": "mine",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_folder_is_never_half_of_one_and_half_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    names = ("config.json", "weights")
    folder.mkdir()
    for name in (*names, "notes.txt"):
        (folder / name).write_text("yesterday's")
    rename, seen = Path.rename, []

    def looked_at(self: Path, target: Path) -> Path:
        done = rename(self, target)
        seen.append({(folder / name).read_text() for name in names} if folder.exists() else {"-"})
        return done

    monkeypatch.setattr(Path, "rename", looked_at)
    with atomic_write_folder(folder) as partial:
        for name in names:
            (partial / name).write_text("today's")

    assert seen == [{"-"}, {"today's"}, {"today's"}]
    assert (folder / "notes.txt").read_text() == "yesterday's"


def test_a_folder_whose_replacement_cannot_be_moved_there_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("yesterday's")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name == ".checkpoint.partial":
            raise OSError("input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="input/output"), atomic_write_folder(folder) as partial:
        (partial / "config.json").write_text("today's")

    assert (folder / "config.json").read_text() == "yesterday's"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_what_was_there_before_a_kill_between_the_two_is_there_again(tmp_path: Path) -> None:
    before = tmp_path / ".checkpoint.before"
    before.mkdir()
    (before / "notes.txt").write_text("mine")

    with atomic_write_folder(tmp_path / "checkpoint") as partial:
        (partial / "config.json").write_text("today's")

    found = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
    assert found == ["config.json", "notes.txt"]
    assert not before.exists()


def test_what_a_killed_process_left_of_a_folder_is_no_part_of_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".checkpoint.partial"
    left.mkdir()
    (left / "weights").write_text("of another classifier")

    with atomic_write_folder(tmp_path / "checkpoint") as partial:
        (partial / "config.json").write_text("today's")

    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["config.json"]
