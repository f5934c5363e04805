"""Refresh twenty products in chunks of four, slowly: python tests/faults/slow_refresh.py FOLDER."""

import json
import sys
from pathlib import Path

from own_process import open_local
from shop import Shop, products

from bench.fake_engine import FakeEngineSpec

folder = Path(sys.argv[1])
shop = Shop(open_local(folder, {"spark.master": "local[2]"}), folder, "shop")
shop.write(products(20))
engine = FakeEngineSpec(seconds_per_product=0.1)
summary = shop.refresh(spec=engine, config={"products_per_chunk": 4})
print(json.dumps(summary.counts))
