"""Runs the job that a test module is named after, in this process; and shops for several jobs."""

import numpy as np
import pandas as pd
import pytest
from job_script import load_job, run_job
from PIL import Image

TONES = {"warm": (200, 20, 30), "cold": (30, 60, 190), "dark": (25, 25, 25)}
SQUARES = 120


@pytest.fixture(scope="module")
def job(request):
    """The script `jobs/<name>.py` of `test_<name>.py`."""
    return load_job(request.path.stem.removeprefix("test_"))


@pytest.fixture
def run(job, capsys):
    """Returns a function that runs the command line: exit code, standard output and error."""

    def run(*flags):
        return run_job(job, *flags), *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Plain squares of three tones, whose descriptions name it in a third of them.

    `tones.csv` labels all, three of them with a rare one; `colors.csv` calls red orange.
    """
    folder, random, rows = tmp_path_factory.mktemp("squares"), np.random.default_rng(0), []
    for number in range(SQUARES):
        tone, color = list(TONES.items())[number % 3]
        shade = np.clip(np.array(color) + random.integers(-20, 20, 3), 0, 255)
        Image.new("RGB", (90, 90), tuple(shade.tolist())).save(folder / f"{number}.png")
        described = f"A {tone} look" if number % 9 < 3 else None
        rows.append((str(number), f"Cannes {number}", described, f"{number}.png", tone))
    columns = ["product_id", "title", "description", "image_path", "tone"]
    table = pd.DataFrame(rows, columns=columns)
    table.drop(columns="tone").to_csv(folder / "products.csv", index=False)
    tones = table["tone"].where(table.index > 2, "odd")
    table.assign(tone=tones)[["product_id", "tone"]].to_csv(folder / "tones.csv", index=False)
    colors = table["tone"].map({"warm": "orange", "cold": "blue", "dark": "black"})
    table.assign(color=colors)[["product_id", "color"]].to_csv(folder / "colors.csv", index=False)
    return folder
