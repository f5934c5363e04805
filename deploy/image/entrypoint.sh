#!/bin/bash
# Spark on Kubernetes starts a container with `driver` and spark-submit's words, or with `executor`.
# Any other words are a command: docker run enrich catalog-enrich check.
set -euo pipefail

case "${1:-}" in
driver)
    shift
    set -- spark-submit --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --deploy-mode client "$@"
    ;;
executor)
    # SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ...: a word each.
    options=()
    while [ -n "$(printenv "SPARK_JAVA_OPT_${#options[@]}")" ]; do
        name="SPARK_JAVA_OPT_${#options[@]}"
        options+=("${!name}")
    done
    classes="${SPARK_CONF_DIR:-$SPARK_HOME/conf}:${SPARK_CLASSPATH:-}:$SPARK_HOME/jars/*"
    set -- "$JAVA_HOME/bin/java" ${options[@]+"${options[@]}"} \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "$classes" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
esac
# tini passes signals on and takes leave of Python workers that have ended.
exec ${TINI-tini -s --} "$@"
