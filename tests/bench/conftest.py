"""What the tests of the benchmark share: the benchmark itself, which is no installed package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
