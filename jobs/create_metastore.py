"""Prepares a new, empty PostgreSQL database to be the metastore of several sessions, once.

    spark-submit --load-spark-defaults --properties-file jobs/conf/shared_metastore.conf \
        jobs/create_metastore.py

Run again, it changes nothing. The last line on standard output is one JSON object.
"""

from enrich.command_line import run_command
from enrich.errors import ConfigError
from enrich.spark.console import print_json_line
from enrich.spark.failures import explain_failure
from enrich.spark.metastore.creation import create_hive_tables
from enrich.spark.metastore.shared import is_shared, read_address
from enrich.spark.session import open_session


def main() -> None:
    """Makes Hive's own tables in the metastore that Spark's settings name."""
    spark = open_session("create_metastore", opens_metastore=False)
    address = read_address(spark)
    if not is_shared(address):
        raise ConfigError(
            f"the metastore is {address or 'a service'}, which needs no preparation: name a shared "
            "one, as jobs/conf/shared_metastore.conf does"
        )
    create_hive_tables(spark)
    databases = [row["namespace"] for row in spark.sql("SHOW DATABASES").collect()]
    print_json_line({"metastore": address, "databases": databases})


if __name__ == "__main__":
    run_command(main, explain_failure)
