#!/bin/bash
# What a step on EMR on EC2 runs in its empty folder: one refresh, by the Spark of the packed environment.
#     aws s3 cp s3://example-enrich/apps/deploy/emr/step.sh . && \
#         APPS=s3://example-enrich/apps bash step.sh --config s3://example-enrich/conf/shop.yaml
# environment.tar.gz (deploy/yarn/pack.sh), deploy/ and jobs/ lie below $APPS.
set -euo pipefail
aws s3 cp --recursive "$APPS/" .
mkdir -p environment
tar -xzf environment.tar.gz -C environment
export PATH=$PWD/environment/bin:$PATH HADOOP_CONF_DIR=/etc/hadoop/conf APPS=file://$PWD
exec bash deploy/yarn/submit.sh "$@"
