"""Spark's own log lines in the form of the job's, where that form is JSON.

Only this process: executors on other machines log as their platform configures them.
"""

import json
from typing import Any

from pyspark.sql import SparkSession

from enrich.redaction import HIDDEN, LOGIN, NAMED


def hide_secrets(pattern: str) -> str:
    """Returns a pattern of Log4j whose text is without what `enrich.redaction` hides.

    Java's messages may repeat a JDBC address with a password in it.
    """
    for secret, shown in ((LOGIN, f"$1$2{HIDDEN}@"), (NAMED, f"$1{HIDDEN}")):
        # Java has no P before a group's name.
        pattern = f"%replace{{{pattern}}}{{(?i){secret.pattern.replace('(?P<', '(?<')}}}{{{shown}}}"
    return pattern


_LINE = {
    "time": "%d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC}",
    "level": "%p{lowerCase=true}",
    "logger": "%c",
    "message": hide_secrets("%m"),
    "exception": hide_secrets("%ex"),
}


def log_java_as_json(spark: SparkSession) -> None:
    """Makes every appender of Spark's root logger one that writes JSON to standard error.

    Runs on the driver.
    """
    jvm: Any = spark.sparkContext._jvm
    log4j: Any = jvm.org.apache.logging.log4j
    context = log4j.LogManager.getContext(False)
    configuration = context.getConfiguration()
    appender = _build_appender(jvm, configuration)
    appender.start()
    configuration.addAppender(appender)
    root = configuration.getRootLogger()
    for name in list(root.getAppenders().keySet()):
        root.removeAppender(name)
    root.addAppender(appender, None, None)
    context.updateLoggers()


def _build_appender(jvm: Any, configuration: Any) -> Any:
    """Returns an appender that writes JSON lines to standard error. Runs on the driver."""
    log4j = jvm.org.apache.logging.log4j
    template = {
        name: {"$resolver": "pattern", "pattern": pattern, "stackTraceEnabled": False}
        for name, pattern in _LINE.items()
    }
    layout = (
        log4j.layout.template.json.JsonTemplateLayout.newBuilder()
        .setConfiguration(configuration)
        .setEventTemplate(json.dumps(template))
        .build()
    )
    # py4j has no name for a class inside a class.
    targets = jvm.java.lang.Class.forName(
        "org.apache.logging.log4j.core.appender.ConsoleAppender$Target"
    ).getEnumConstants()
    builder = log4j.core.appender.ConsoleAppender.newBuilder()
    return (
        builder.setName("json")
        .setTarget(next(target for target in targets if target.toString() == "SYSTEM_ERR"))
        .setLayout(layout)
        .setConfiguration(configuration)
        .build()
    )
