"""A shop on two days: what stays, comes, goes and changes between them, and what is broken."""

from datetime import date
from pathlib import Path

import pandas as pd
from fake_shop import products

DAYS = {"monday": date(2026, 11, 23), "tuesday": date(2026, 11, 24)}


def write_catalogs(home: Path) -> None:
    """Writes Monday's and Tuesday's product tables, and the one picture that they name."""
    (home / "three.jpg").write_bytes(b"a picture")
    monday = products(20).assign(kind="shirts")
    monday.loc[3, "image_path"] = "three.jpg"
    monday.to_parquet(home / "monday.parquet")

    tuesday = products(36).drop(index=5).assign(kind="shirts")
    tuesday.loc[:3, "title"] += ", now blue"
    tuesday.loc[3, "image_path"] = "three.jpg"
    tuesday.loc[4, "kind"] = "trousers"
    tuesday.loc[30, "title"] = None
    broken = products(3).assign(kind="shirts")
    broken["product_id"] = pd.array(["p21", None, "p22"], dtype="string")
    pd.concat([tuesday, broken], ignore_index=True).to_parquet(home / "tuesday.parquet")
