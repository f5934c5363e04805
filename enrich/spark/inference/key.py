"""What tells a staged row apart."""

from pyspark.sql import Column
from pyspark.sql import functions as F

KEY = ("product_id", "product_category", "content_hash")


def is_same(one: str, other: str) -> list[Column]:
    """Returns the condition of a join of two frames by their aliases."""
    return [F.col(f"{one}.{name}").eqNullSafe(F.col(f"{other}.{name}")) for name in KEY]
