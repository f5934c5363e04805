"""People's labels are read as the checkpoint writes them, or not at all."""

from pathlib import Path

import pandas as pd
import pytest

from enrich.correction_file import read_correction_file
from enrich.errors import ConfigError


def _read(folder: Path, given: list[str | None], labels: tuple[str, ...]) -> list[str]:
    table = pd.DataFrame({"product_id": map(str, range(len(given))), "color": given})
    table.to_csv(folder / "labelled.csv", index=False)
    return read_correction_file(folder / "labelled.csv", {"color": labels})["color"].tolist()


def test_case_and_blanks_do_not_count_where_one_label_alone_can_be_meant(tmp_path: Path) -> None:
    given = [" RED", "navy blue ", None, " ", "Olive"]
    labels = ("Red", "Navy Blue", "olive ")
    assert _read(tmp_path, given, labels) == ["Red", "Navy Blue", "olive "]


def test_labels_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    assert _read(tmp_path, ["Blue", "blue", "RED"], ("Blue", "blue", "red")) == [
        "Blue",
        "blue",
        "red",
    ]
    with pytest.raises(ConfigError, match="no color"):
        _read(tmp_path, ["BLUE"], ("Blue", "blue", "red"))
