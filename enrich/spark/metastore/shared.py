"""A metastore in a database server, which lets in several sessions at once.

Knows Hive's settings for it (javax.jdo.option.Connection...), and no password: Hadoop fills it in.
"""

from collections.abc import Iterable
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from enrich.errors import ConfigError, first_line, kind_of
from enrich.redaction import refuse_secrets
from enrich.spark.hadoop import hadoop_settings
from enrich.spark.storage import messages_of

ADDRESS = "javax.jdo.option.ConnectionURL"
DRIVER = "javax.jdo.option.ConnectionDriverName"
USER = "javax.jdo.option.ConnectionUserName"
PASSWORD = "javax.jdo.option.ConnectionPassword"
MAY_CREATE = "datanucleus.schema.autoCreateAll"
# Of Hive's tables, the one of the databases.
_FIRST_TABLE = "DBS"


def read_address(spark: SparkSession) -> str:
    """Returns the metastore's JDBC address; "" where the settings name none. Runs on the driver."""
    return hadoop_settings(spark).get(ADDRESS) or ""


def is_shared(address: str) -> bool:
    """Tells whether this is a database server's address: not Derby's, which admits one process."""
    return bool(address) and not address.startswith("jdbc:derby:")


def is_prepared(tables: Iterable[str]) -> bool:
    """Tells whether a database with these tables is a metastore already."""
    return _FIRST_TABLE in map(str.upper, tables)


def refuse_closed_metastore(spark: SparkSession, address: str) -> None:
    """Raises an error when the database at this JDBC address is no metastore for this job.

    Runs on the driver. Hive would say so too, in pages of Java.

    Raises:
        ConfigError: the address, the user, the password or the driver is wrong, or nobody has
            prepared the database.
        NoAnswer: the server is out of reach.
    """
    tables = list_tables(spark, address)
    if not is_prepared(tables) and hadoop_settings(spark).get(MAY_CREATE) == "false":
        raise ConfigError(
            f"the database at {address} is no metastore yet: none of Hive's tables is there. Name "
            "another one in METASTORE_ADDRESS, or prepare this one, once, with "
            "jobs/create_metastore.py (docs/metastore.md)"
        )


def list_tables(spark: SparkSession, address: str) -> list[str]:
    """Returns the names of all tables of the database at an address. Runs on the driver."""
    # Hive's messages repeat the address.
    refuse_secrets(address, ADDRESS)
    user, password = read_login(spark)
    jvm: Any = spark.sparkContext._jvm
    gateway: Any = spark.sparkContext._gateway
    try:
        connection = jvm.java.sql.DriverManager.getConnection(address, user, password)
    except Py4JJavaError as error:
        reason = first_line(error).rstrip(".")
        kind = kind_of(messages_of(error), ConfigError)
        # From nothing: a trace would show what the driver was called with.
        raise kind(
            f"cannot open the metastore at {address} as {user}: {reason}. Look at "
            "METASTORE_ADDRESS, METASTORE_USER and METASTORE_PASSWORD, whether the server runs, "
            "and where the driver's jar is (docs/metastore.md)"
        ) from None
    try:
        kinds = gateway.new_array(jvm.java.lang.String, 1)
        kinds[0] = "TABLE"
        tables = connection.getMetaData().getTables(connection.getCatalog(), None, None, kinds)
        names = []
        while tables.next():
            names.append(str(tables.getString("TABLE_NAME")))
        return names
    finally:
        connection.close()


def read_login(spark: SparkSession) -> tuple[str, str]:
    """Returns user and password, from Hadoop's settings or its credential store."""
    hadoop = hadoop_settings(spark)
    return hadoop.get(USER) or "", "".join(hadoop.getPassword(PASSWORD) or ())
