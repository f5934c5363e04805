"""Java's log lines hide what the job's own lines hide."""

import re
from typing import Any

import pytest
from pyspark.sql import SparkSession

from enrich.redaction import redact
from enrich.spark.java_logs import hide_secrets
from jobs.set_up import TEMPLATES

SAID = [
    "JDBC url = jdbc:mysql://hive:hunter2@db:3306/metastore",
    "cannot list s3a://AKIA:hun/ter2@bucket/x: no such key",
    "GET https://shop.example/a?sv=1&sig=a%2Bb&x=2 failed",
    "GET https://tokentoken@shop.example/a",
    "fs.azure.account.key.me.dfs.core.windows.net=hunter2==",
    "jdbc:postgresql://db/x?user=me&password=hunter2",
    "jdbc:postgresql://me@corp.com:hunter2@db/x",
    "fs.s3a.secret.key = hunter2, AccountKey=hunter2;x",
    '{"pwd": "hunter2", "credential": "hunter2"}',
    "hdfs://namenode:8020/2026@summer is not there",
    "3 tokens = 2, abfss://container@account.dfs.core.windows.net/images",
]


def write(spark: SparkSession, pattern: str, message: str) -> str:
    """Returns the line that Log4j makes of a warning."""
    log4j: Any = spark.sparkContext._jvm.org.apache.logging.log4j
    said = log4j.message.SimpleMessage(message)
    event = log4j.core.impl.Log4jLogEvent.newBuilder().setMessage(said)
    event = event.setLevel(log4j.Level.WARN).setLoggerName("org.Hive").build()
    layout = log4j.core.layout.PatternLayout.newBuilder().withPattern(pattern).build()
    return layout.toSerializable(event)


@pytest.fixture(scope="module")
def for_people(spark: SparkSession) -> str:
    """The pattern of lines for people, as Java reads it."""
    java: Any = spark.sparkContext._jvm.java
    settings = java.util.Properties()
    settings.load(java.io.FileInputStream(str(TEMPLATES / "log4j2.properties")))
    return settings.getProperty("appender.console.layout.pattern")


@pytest.mark.parametrize("message", SAID)
def test_java_hides_what_the_job_hides(spark: SparkSession, for_people: str, message: str) -> None:
    assert write(spark, hide_secrets("%m"), message) == redact(message)
    line = write(spark, for_people, message)
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARN Hive: (.*)\n", line)[1] == redact(message)
