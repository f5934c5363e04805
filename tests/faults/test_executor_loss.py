"""An executor that is lost while encodings are written loses and doubles no row."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Twenty in `make test-faults`.
TIMES = int(os.environ.get("EXECUTORS_LOST", "3"))


def test_every_content_is_written_once_although_executors_are_killed(tmp_path: Path) -> None:
    script = Path(__file__).with_name("lose_executors.py")
    support = os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, script, tmp_path, str(TIMES)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": support, "PYSPARK_PYTHON": sys.executable},
        timeout=1_800,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["kills"] == TIMES
    assert told["written"] == [[told["asked"]] * 3] * TIMES
