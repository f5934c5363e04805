"""When a published row makes way for a run's, as SQL.

In all of it `old` is the published row, and `new` the row that a run brings of the same product.
"""

from enrich.records import Status
from enrich.spark.times import is_to_come

MATCHES = "old.product_id = new.product_id"
# What makes a published row the row that it is.
COMPARED = ("content_hash", "status", "model_version", "product_category", "corrections")
SAYS_THE_SAME = "({})".format(" AND ".join(f"old.{name} <=> new.{name}" for name in COMPARED))
IS_OWN = "(old.run_id = new.run_id)"
# Spelled out: `(a, b) >= (c, d)` compares structs, which Spark refuses where the fields of only one
# side may be NULL.
IS_NEWER = (
    "(new.run_date > old.run_date"
    " OR new.run_date = old.run_date AND new.enriched_at >= old.enriched_at"
    f" OR {is_to_come('old.run_date')})"
)
# What the classifier said of a product. Whether it abstains hangs on the target precision.
_SAID = ("content_hash", "status", "predictions.label", "predictions.confidence")
# Whether `new`, if it was carried over, is still a copy of what is published. The answer that it
# was carried from may have been taken back since, and is not to come back in this way.
SOURCE_STANDS = "(new.is_carried IS NULL OR {})".format(
    " AND ".join(f"old.{name} <=> new.{name}" for name in _SAID)
)
# What a full refresh replaces although it says the same: another run's row, or a row that a run of
# the same id wrote on an earlier day. But where the picture is still out of reach, nothing was
# computed anew.
_IS_RENEWED = (
    f"((NOT {IS_OWN} OR old.run_date < new.run_date) AND new.status <> '{Status.IMAGE_UNREADABLE}')"
)


def is_outdated(*, full_refresh: bool) -> str:
    """Returns SQL: whether `new` replaces `old`."""
    reasons = f"NOT {SAYS_THE_SAME}" + (f" OR {_IS_RENEWED}" if full_refresh else "")
    return f"{IS_NEWER} AND {SOURCE_STANDS} AND ({reasons})"


def stays(*, full_refresh: bool) -> str:
    """Returns SQL: whether `old`, which says the same as `new`, is not written anew."""
    return f"NOT {_IS_RENEWED}" if full_refresh else "true"
