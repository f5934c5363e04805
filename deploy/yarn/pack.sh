#!/bin/bash
# Packs the environment that YARN's containers unpack, from a checkout's folder:
#     deploy/yarn/pack.sh environment.tar.gz
# The nodes need the same Python at the same path, and a Java 17 or 21.
set -euo pipefail
output=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
lock=$PWD/requirements/lock.txt

"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --require-hashes -r requirements/uv.txt
"$folder/env/bin/uv" pip install --quiet --python "$folder/env" -c "$lock" -b "$lock" ".[spark]"
SPARK_HOME=$(echo "$folder"/env/lib/python3.*/site-packages/pyspark) PATH="$folder/env/bin:$PATH" \
    bash deploy/image/fetch_jars.sh requirements/delta-jars.txt
"$folder/env/bin/uv" tool run venv-pack --quiet --prefix "$folder/env" --output "$output"
