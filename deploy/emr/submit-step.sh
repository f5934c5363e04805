#!/bin/bash
# Runs one refresh on EMR on EC2 as a step, by the Spark of the packed environment; further words are
# the job's. The cluster was made with `--configurations file://deploy/emr/gpu-classifications.json`,
# and environment.tar.gz (deploy/yarn/pack.sh), deploy/yarn/submit.sh and jobs/ lie below $APPS.
#     CLUSTER=j-EXAMPLE APPS=s3://example-enrich/apps deploy/emr/submit-step.sh \
#         --config s3://example-enrich/conf/shop.yaml
set -euo pipefail
: "${CLUSTER:?the id of the cluster}" "${APPS:?where the environment lies}"
run="aws s3 cp --recursive $APPS/ . && mkdir -p environment && tar -xzf environment.tar.gz -C environment && \
PATH=\$PWD/environment/bin:\$PATH HADOOP_CONF_DIR=/etc/hadoop/conf APPS=file://\$PWD bash deploy/yarn/submit.sh $(printf '%q ' "$@")"

aws emr add-steps --cluster-id "$CLUSTER" --steps "$(
    RUN=$run python3 -c 'import json, os; print(json.dumps([{
        "Name": "enrich_catalog", "Type": "CUSTOM_JAR", "ActionOnFailure": "CONTINUE",
        "Jar": "command-runner.jar", "Args": ["bash", "-c", os.environ["RUN"]]}]))'
)"
