#!/bin/bash
# Runs one refresh on YARN; further words are the job's:
#     hdfs dfs -put environment.tar.gz /apps/enrich/
#     FILES=shop.yaml,shop.json deploy/yarn/submit.sh --config shop.yaml
# YARN has to schedule yarn.io/gpu and to keep GPUs apart. FILES are shipped beside the job: settings
# and baseline, unless they have an address as the checkpoint has. JOB names another file of jobs/.
# One attempt: YARN would repeat also what ends with exit codes 2 (wrong settings or input) and 3 (the
# gate), which are for people.
set -euo pipefail
apps=${APPS:-hdfs:///apps/enrich}
java=${NODES_JAVA:-/usr/lib/jvm/java-17}

exec spark-submit --master yarn --deploy-mode cluster \
    --properties-file jobs/conf/cluster/gpu-cluster.conf \
    --archives "$apps/environment.tar.gz#environment" \
    --files "${FILES:+$FILES,}jobs/conf/cluster/discover_gpus.sh" \
    --conf spark.yarn.maxAppAttempts=1 \
    --conf spark.pyspark.python=./environment/bin/python \
    --conf "spark.yarn.appMasterEnv.JAVA_HOME=$java" --conf "spark.executorEnv.JAVA_HOME=$java" \
    "jobs/${JOB:-enrich_catalog.py}" "$@"
