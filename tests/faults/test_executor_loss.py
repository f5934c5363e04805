"""An executor that is lost while encodings are written loses and doubles no row."""

import os
from pathlib import Path

from own_process import run_script

# Twenty in `make test-faults`.
TIMES = int(os.environ.get("EXECUTORS_LOST", "3"))


def test_every_content_is_written_once_although_executors_are_killed(tmp_path):
    script = Path(__file__).with_name("lose_executors.py")
    told, _ = run_script(script, tmp_path, TIMES)
    assert told["kills"] == TIMES
    assert told["written"] == [[told["asked"]] * 3] * TIMES
