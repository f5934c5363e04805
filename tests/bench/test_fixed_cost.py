"""Spark's event log by stage of the job."""

import json

from bench.fixed_cost import count_by_stage


def test_statements_and_jobs_are_counted_by_stage(tmp_path):
    sql = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"
    start = "SparkListenerJobStart"
    events = [
        {"Event": "SparkListenerApplicationStart"},
        {"Event": sql, "jobGroupId": "diff"},
        {"Event": start, "Properties": {"spark.jobGroup.id": "diff"}},
        {"Event": start, "Properties": {"spark.jobGroup.id": "diff"}},
        {"Event": sql},
        {"Event": start, "Properties": {}},
    ]
    log = tmp_path / "local-1"
    log.write_text("\n".join(map(json.dumps, events)))
    statements, jobs = count_by_stage(log)
    assert statements == {"diff": 1, "outside": 1}
    assert jobs == {"diff": 2, "outside": 1}
