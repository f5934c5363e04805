#!/bin/bash
# Runs deploy/emr/step.sh on a cluster; further words are the job's. The cluster was made with
# `--configurations file://deploy/emr/gpu-classifications.json`.
#     CLUSTER=j-EXAMPLE APPS=s3://example-enrich/apps deploy/emr/submit-step.sh \
#         --config s3://example-enrich/conf/shop.yaml
set -euo pipefail
: "${CLUSTER:?the id of the cluster}" "${APPS:?where the environment lies}"
run="aws s3 cp $APPS/deploy/emr/step.sh . && APPS=$APPS bash step.sh $(printf '%q ' "$@")"

aws emr add-steps --cluster-id "$CLUSTER" --steps "$(
    RUN=$run python3 -c 'import json, os; print(json.dumps([{
        "Name": "enrich_catalog", "Type": "CUSTOM_JAR", "ActionOnFailure": "CONTINUE",
        "Jar": "command-runner.jar", "Args": ["bash", "-c", os.environ["RUN"]]}]))'
)"
