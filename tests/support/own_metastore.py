"""A metastore of a test's own, whatever Spark's defaults say of a shared one."""


def derby(place: str) -> dict[str, str]:
    """Returns Spark's settings for an embedded one; `place` as in Derby's addresses.

    That is `;databaseName=FOLDER` or `memory:NAME`.
    """
    return {
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:{place};create=true",
        "spark.hadoop.javax.jdo.option.ConnectionDriverName": (
            "org.apache.derby.jdbc.EmbeddedDriver"
        ),
        "spark.hadoop.datanucleus.schema.autoCreateAll": "true",
    }
