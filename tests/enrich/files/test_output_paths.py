"""What a job writes is told to be impossible before anything is computed."""

from pathlib import Path

import pytest

from enrich.errors import ConfigError
from enrich.places import prepare_target


@pytest.mark.parametrize("output", ["s3://shop/out.parquet", "s3://shop", "file:///out.csv"])
def test_a_uri_is_no_file_below_a_folder_called_like_its_scheme(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is not a local path"):
        prepare_target(Path(output))
    assert list(tmp_path.iterdir()) == []
