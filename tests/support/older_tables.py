"""Output tables as version 0.1 made them."""

from fake_shop import Shop

_PREDICTIONS = """ARRAY<STRUCT<attribute: STRING, label: STRING, confidence: DOUBLE,
    abstained: BOOLEAN, image_weight: DOUBLE,
    alternatives: ARRAY<STRUCT<label: STRING, confidence: DOUBLE>>>>"""
_ANSWERS = f"""product_id STRING NOT NULL, color STRING, color_confidence DOUBLE, pattern STRING,
    pattern_confidence DOUBLE, predictions {_PREDICTIONS}"""
_STATUS = "status STRING NOT NULL COMMENT 'ok, or what could not be read'"
_LINEAGE = """content_hash STRING NOT NULL, model_version STRING NOT NULL, run_id STRING NOT NULL,
    run_date DATE NOT NULL, enriched_at TIMESTAMP NOT NULL"""
_PUBLISHED = f"{_ANSWERS}, modalities STRING NOT NULL, {_STATUS}, {_LINEAGE}"
_STAGED = f"{_ANSWERS}, modalities STRING, {_STATUS}, error STRING, {_LINEAGE}"
_RUNS = """run_id STRING NOT NULL, run_date DATE NOT NULL, outcome STRING NOT NULL,
    started_at TIMESTAMP NOT NULL, finished_at TIMESTAMP NOT NULL, catalog STRING NOT NULL,
    catalog_version STRING NOT NULL, model_version STRING NOT NULL, read BIGINT NOT NULL,
    pending BIGINT NOT NULL, enriched BIGINT NOT NULL, published BIGINT NOT NULL,
    unchanged BIGINT NOT NULL, quarantined BIGINT NOT NULL, withheld BIGINT NOT NULL,
    abstained MAP<STRING, BIGINT>, seconds MAP<STRING, DOUBLE>, error STRING"""
_IN_DELTA = "USING DELTA TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"


def create_old(shop: Shop, status: str = "ok") -> None:
    """Makes a published table with one row, and nothing else."""
    shop.sql(f"CREATE DATABASE {shop.database}")
    shop.sql(f"CREATE TABLE shop.product_attributes ({_PUBLISHED}) {_IN_DELTA}")
    shop.sql(
        f"""INSERT INTO shop.product_attributes VALUES ('old', 'red', 0.9, 'solid', 0.8, array(),
        'text', '{status}', 'h', 'm', 'r', date'2026-01-01', timestamp'2026-01-01 00:00:00')"""
    )


def create_old_ledger(shop: Shop) -> None:
    """Adds the tables of staged rows and of runs."""
    shop.sql(f"CREATE TABLE shop.staged_attributes ({_STAGED}) {_IN_DELTA}")
    shop.sql(f"CREATE TABLE shop.enrichment_runs ({_RUNS}) {_IN_DELTA}")


def publish_old(shop: Shop, run_id: str, product_id: str) -> None:
    """Publishes a row as a run of one product did."""
    with shop.tables.commit_of(run_id):
        shop.sql(
            f"""INSERT INTO shop.product_attributes VALUES ('{product_id}', 'red', 0.9, 'solid',
            0.8, array(), 'text', 'ok', 'h', 'fake-1', '{run_id}', date'2026-01-01',
            timestamp'2026-01-01 00:00:00')"""
        )
    _write_run(shop, run_id, "published")


def stage_old(shop: Shop, run_id: str, product_id: str) -> None:
    """Stages a row as a run did that was blocked."""
    shop.sql(
        f"""INSERT INTO shop.staged_attributes VALUES ('{product_id}', 'red', 0.9, 'solid', 0.8,
        array(), 'text', 'ok', NULL, 'h', 'fake-1', '{run_id}', date'2026-01-01',
        timestamp'2026-01-01 00:00:00')"""
    )
    _write_run(shop, run_id, "blocked")


def _write_run(shop: Shop, run_id: str, outcome: str) -> None:
    published = int(outcome == "published")
    shop.sql(
        f"""INSERT INTO shop.enrichment_runs VALUES ('{run_id}', date'2026-01-01', '{outcome}',
        timestamp'2026-01-01 00:00:00', current_timestamp(), 'shop', 'v1', 'fake-1', 1, 1, 1,
        {published}, 0, 0, {1 - published}, NULL, map('inference', 1D), NULL)"""
    )
