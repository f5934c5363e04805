"""What a staged row is: of which product it is, and whether it holds an answer."""

from pyspark.sql import Column
from pyspark.sql import functions as F

KEY = ("product_id", "product_category", "content_hash")


def is_answered() -> Column:
    """Tells whether a row holds an answer: where nothing could be read it rests on no modality."""
    return F.col("modalities").isNotNull()


def is_same(one: str, other: str) -> list[Column]:
    """Returns the condition of a join of two frames by their aliases."""
    return [F.col(f"{one}.{name}").eqNullSafe(F.col(f"{other}.{name}")) for name in KEY]
