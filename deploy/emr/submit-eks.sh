#!/bin/bash
# Runs one refresh on EMR on EKS, in the project's image; further words are the job's:
#     deploy/emr/submit-eks.sh --config=s3://example-enrich/conf/shop.yaml \
#         --summary=s3://example-enrich/summaries/last.json
# EMR's own releases have Spark 3.5 or 4.0, which do not fit: so the image brings its Spark, and the
# Kubernetes files of this folder's neighbour apply. This command submits their SparkApplication.
set -euo pipefail
words=$(python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@")

kubectl patch --local --filename deploy/kubernetes/spark-application.yaml --type merge --output yaml \
    --patch "{\"spec\": {\"arguments\": $words}}" |
    kubectl create --filename -
