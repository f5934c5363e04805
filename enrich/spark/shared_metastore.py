"""A metastore in a database server, which lets in several sessions at once.

Knows Hive's settings for it (javax.jdo.option.Connection...), and no password: Hadoop fills it in.
"""

import re
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from enrich.errors import ConfigError, NoAnswer, first_line, is_no_answer
from enrich.redaction import refuse_secrets
from enrich.spark.storage import messages_of

_ADDRESS = "javax.jdo.option.ConnectionURL"
_DRIVER = "javax.jdo.option.ConnectionDriverName"
_USER = "javax.jdo.option.ConnectionUserName"
_PASSWORD = "javax.jdo.option.ConnectionPassword"
_MAY_CREATE = "datanucleus.schema.autoCreateAll"
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
    _MAY_CREATE: "true",
}
_EMBEDDED = 'embedded-only="true"'


def read_address(spark: SparkSession) -> str:
    """Returns the metastore's JDBC address; "" where the settings name none. Runs on the driver."""
    return spark.sparkContext._jsc.hadoopConfiguration().get(_ADDRESS) or ""


def refuse_closed_metastore(spark: SparkSession, address: str) -> None:
    """Raises an error when the database at this JDBC address does not let this job in.

    Runs on the driver. Hive would say so too, in pages of Java.

    Raises:
        ConfigError: the address, the user, the password or the driver is wrong.
        NoAnswer: the server is out of reach.
    """
    # Hive's messages repeat the address.
    refuse_secrets(address, _ADDRESS)
    user, password = _read_login(spark)
    jvm: Any = spark.sparkContext._jvm
    try:
        jvm.java.sql.DriverManager.getConnection(address, user, password).close()
    except Py4JJavaError as error:
        reason = first_line(error).rstrip(".")
        kind = NoAnswer if any(map(is_no_answer, messages_of(error))) else ConfigError
        # From nothing: a trace would show what the driver was called with.
        raise kind(
            f"cannot open the metastore at {address} as {user}: {reason}. Look at "
            "METASTORE_ADDRESS, METASTORE_USER and METASTORE_PASSWORD, whether the server runs, "
            "and where the driver's jar is (docs/metastore.md)"
        ) from None


def create_hive_tables(spark: SparkSession) -> None:
    """Makes all tables that Hive keeps in a new, empty metastore; in one that has them, nothing.

    Runs on the driver, before the session has asked for any table. Hive itself would make each
    when it is first needed, in the middle of a transaction of another connection: on PostgreSQL
    the two wait for each other for ever.
    """
    jvm: Any = spark.sparkContext._jvm
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    user, password = _read_login(spark)
    settings = jvm.java.util.Properties()
    login = {_ADDRESS: read_address(spark), _DRIVER: hadoop.get(_DRIVER), _USER: user}
    for name, value in (_AS_HIVE_DOES | login | {_PASSWORD: password}).items():
        settings.setProperty(name, value)
    classes = jvm.java.util.HashSet()
    for name in _list_stored_classes(jvm):
        classes.add(name)
    factory = jvm.javax.jdo.JDOHelper.getPersistenceManagerFactory(settings)
    store = factory.getNucleusContext().getStoreManager()
    store.createSchemaForClasses(classes, jvm.java.util.Properties())
    factory.close()
    # Its counters Hive makes when it first needs one: in this session, with nobody beside it.
    hadoop.set(_MAY_CREATE, "true")
    spark.catalog.databaseExists("default")


def _list_stored_classes(jvm: Any) -> list[str]:
    """Returns the Java classes that Hive stores in tables of their own."""
    mapping = jvm.java.lang.ClassLoader.getSystemResourceAsStream("package.jdo").readAllBytes()
    text = bytes(mapping).decode()
    package = re.findall(r'<package name="([\w.]+)"', text)[0]
    found = re.findall(r'<class name="(\w+)"([^>]*)>', text)
    return [f"{package}.{name}" for name, options in found if _EMBEDDED not in options]


def _read_login(spark: SparkSession) -> tuple[str, str]:
    """Returns user and password, from Hadoop's settings or its credential store."""
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    return hadoop.get(_USER) or "", "".join(hadoop.getPassword(_PASSWORD) or ())
