#!/bin/bash
# Puts Delta's jars, and those of further Maven coordinates, beside Spark's:
#     fetch_jars.sh PINNED [COORDINATE ...]
# PINNED has a line `sha256  name` for each of Delta's jars.
set -euo pipefail
pinned=$(realpath "$1")
shift
jars="$SPARK_HOME/jars"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/delta"
touch "$folder/nothing.py"

fetch() { # $1: coordinates, parted by commas
    # Not the user's ~/.m2: a pom without its jar there makes the resolver fail.
    SPARK_SUBMIT_OPTS="${SPARK_SUBMIT_OPTS:-} -Duser.home=$folder" spark-submit --master 'local[1]' \
        --packages "$1" --conf "spark.jars.ivy=$folder" "$folder/nothing.py" >"$folder/log" 2>&1 ||
        { cat "$folder/log" >&2; exit 1; }
}

fetch io.delta:delta-spark_4.1_2.13:4.4.0
while read -r _ name; do
    mv "$folder"/jars/*_"$name" "$folder/delta/$name"
done <"$pinned"
(cd "$folder/delta" && sha256sum --check --quiet "$pinned")
rm -f "$jars"/delta-*.jar "$jars"/unitycatalog-*.jar
cp --remove-destination "$folder"/delta/*.jar "$jars/"

if [ $# -gt 0 ]; then
    rm -r "$folder/jars"
    fetch "$(IFS=,; echo "$*")"
    cp --remove-destination "$folder"/jars/*.jar "$jars/"
fi
