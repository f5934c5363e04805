"""The command line of audits, as far as it goes without tables."""

import pytest


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], ("--output", "--labels")),
        (["--output", "a.csv", "--labels", "b.csv"], ("--output", "--labels")),
        (["--labels", "b.csv", "--n", "60"], ("--n",)),
        (["--output", "a.csv", "--checkpoint", "nowhere"], ("nowhere",)),
        (["--output", "a.parquet"], (".csv",)),
        (["--output", "a.csv", "--database", "no name"], ("no name",)),
    ],
)
def test_flags_that_contradict_each_other_are_refused(run, flags, named):
    code, _, error = run(*flags)
    assert code == 2
    assert all(name in error for name in named)


def test_a_file_with_an_unknown_label_is_refused_before_anything_starts(run, tmp_path):
    file = tmp_path / "audit.csv"
    file.write_text("product_id,attribute,title,image_path,label\n7,color,,,blurple\n")
    code, _, error = run("--labels", file)
    assert code == 2
    assert "blurple" in error and "turquoise" in error
