"""Makes Hive's own tables in a new, empty database, once, before any session uses it.

Knows how Hive has DataNucleus store its classes.
"""

import re
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from enrich.errors import ConfigError, EnrichError, MetastoreBusy, name_some
from enrich.spark.hadoop import hadoop_settings
from enrich.spark.metastore.shared import (
    ADDRESS,
    DRIVER,
    MAY_CREATE,
    PASSWORD,
    USER,
    is_prepared,
    list_tables,
    read_address,
    read_login,
)
from enrich.spark.storage import messages_of

# How Hive 2.3, which Spark brings, sets up DataNucleus; it names tables and columns by these.
_AS_HIVE_DOES = {
    "javax.jdo.PersistenceManagerFactoryClass": (
        "org.datanucleus.api.jdo.JDOPersistenceManagerFactory"
    ),
    "datanucleus.storeManagerType": "rdbms",
    "datanucleus.identifierFactory": "datanucleus1",
    "datanucleus.rdbms.useLegacyNativeValueStrategy": "true",
    "datanucleus.rdbms.initializeColumnInfo": "NONE",
    "datanucleus.transactionIsolation": "read-committed",
    "datanucleus.plugin.pluginRegistryBundleCheck": "LOG",
    "datanucleus.connectionPoolingType": "None",
    MAY_CREATE: "true",
}
_EMBEDDED = 'embedded-only="true"'
# The table in which DataNucleus keeps its counters.
_COUNTERS = "SEQUENCE_TABLE"
_DENIED = re.compile(r"permission denied|command denied", re.IGNORECASE)
# If two processes make the same table, one of them finds its name taken, or its entry in a catalog.
_TAKEN = re.compile(r"already exists|duplicate key", re.IGNORECASE)


def create_hive_tables(spark: SparkSession) -> None:
    """Makes all tables that Hive keeps in a new, empty metastore; in one that has them, nothing.

    Runs on the driver, before the session has asked for any table. Hive itself would make each
    when it is first needed, in the middle of a transaction of another connection: on PostgreSQL
    the two wait for each other for ever.

    Raises:
        ConfigError: the database does not let this job in or make tables, or has others' in it.
        MetastoreBusy: another process makes these tables.
        NoAnswer: the server is out of reach.
    """
    address = read_address(spark)
    mapping = _read_mapping(spark)
    _refuse_tables_of_others(spark, address, mapping)
    # What goes wrong is said once, by the error.
    spark.sparkContext.setLogLevel("OFF")
    try:
        _create_tables(spark, address, mapping)
        # Hive makes the table of its counters when it first needs one. That is now, while no other
        # session is there.
        hadoop_settings(spark).set(MAY_CREATE, "true")
        spark.catalog.databaseExists("default")
    except (Py4JJavaError, PySparkException) as error:
        known = _explain_creation(error, address)
        if known is None:
            raise
        # From nothing: Java's pages would hide the one line.
        raise known from None


def _refuse_tables_of_others(spark: SparkSession, address: str, mapping: str) -> None:
    """Raises ConfigError when a database that is no metastore yet is somebody else's already."""
    own = {name.upper() for name in re.findall(r'table="(\w+)"', mapping)} | {_COUNTERS}
    tables = list_tables(spark, address)
    others = sorted(name for name in tables if name.upper() not in own)
    if others and not is_prepared(tables):
        raise ConfigError(
            f"the database at {address} holds tables of others: {name_some(others)}. Wanted: a "
            "new, empty one, in METASTORE_ADDRESS (docs/metastore.md)"
        )


def _create_tables(spark: SparkSession, address: str, mapping: str) -> None:
    """Has DataNucleus make the table of every class that is not there. Runs on the driver."""
    jvm: Any = spark.sparkContext._jvm
    hadoop = hadoop_settings(spark)
    user, password = read_login(spark)
    settings = jvm.java.util.Properties()
    login = {ADDRESS: address, DRIVER: hadoop.get(DRIVER), USER: user}
    for name, value in (_AS_HIVE_DOES | login | {PASSWORD: password}).items():
        settings.setProperty(name, value)
    classes = jvm.java.util.HashSet()
    for name in _list_stored_classes(mapping):
        classes.add(name)
    factory = jvm.javax.jdo.JDOHelper.getPersistenceManagerFactory(settings)
    store = factory.getNucleusContext().getStoreManager()
    store.createSchemaForClasses(classes, jvm.java.util.Properties())
    factory.close()


def _explain_creation(error: Exception, address: str) -> EnrichError | None:
    """Returns why Hive's tables could not be made, None where that is not known."""
    lines = [line for text in messages_of(error) for line in text.splitlines()]
    # The innermost cause comes last.
    if denied := next(filter(_DENIED.search, reversed(lines)), None):
        return ConfigError(
            f"the metastore's user may not make tables at {address}: {denied}. Make it the owner "
            "of the database, or give it the right to create in its schema (docs/metastore.md)"
        )
    if any(map(_TAKEN.search, lines)):
        return MetastoreBusy(
            f"another process prepares the metastore at {address} at the same time: wait for that "
            "one to end, and repeat"
        )
    return None


def _read_mapping(spark: SparkSession) -> str:
    """Returns how Hive's classes are stored in tables: its package.jdo."""
    jvm: Any = spark.sparkContext._jvm
    file = jvm.java.lang.ClassLoader.getSystemResourceAsStream("package.jdo")
    return bytes(file.readAllBytes()).decode()


def _list_stored_classes(mapping: str) -> list[str]:
    """Returns the Java classes that Hive stores in tables of their own."""
    package = re.findall(r'<package name="([\w.]+)"', mapping)[0]
    found = re.findall(r'<class name="(\w+)"([^>]*)>', mapping)
    return [f"{package}.{name}" for name, options in found if _EMBEDDED not in options]
