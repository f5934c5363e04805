#!/usr/bin/env bash
# Runs this checkout's local Airflow until Ctrl-C, or one command of it:
#     airflow_dags/local.sh [backfill create --dag-id refresh_catalog ...]
# Everything is kept in $LOCAL_AIRFLOW (airflow_home); its pages are on port $PORT (8080).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Another Airflow's settings, or its packages, must not count here: its database would be migrated.
for name in "${!AIRFLOW__@}" "${!_AIRFLOW@}"; do
  [[ $name == AIRFLOW__LOGGING__* ]] || unset "$name"
done
unset AIRFLOW_CONFIG PYTHONPATH
home=$(realpath -m "${LOCAL_AIRFLOW:-airflow_home}")
address=http://127.0.0.1:${PORT:-8080}
export PATH="$PWD/.venv-airflow/bin:$PATH" AIRFLOW_HOME="$home"
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:///$home/airflow.db"
export AIRFLOW__CORE__DAGS_FOLDER="$PWD/airflow_dags" AIRFLOW__CORE__LOAD_EXAMPLES=False
# Whoever reaches this port and logs in can start jobs: this machine only.
export AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__API__PORT="${PORT:-8080}"
export AIRFLOW__API__BASE_URL="$address"
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL="$address/execution/"
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False
# No proxy is asked for what is on this machine.
export no_proxy="${no_proxy:-${NO_PROXY:-}},127.0.0.1,localhost"
export NO_PROXY="$no_proxy"

if (($#)); then exec airflow "$@"; fi
echo "Airflow will be at $address, user admin, password in $home/simple_auth_manager_passwords.json.generated"
airflow db migrate > /dev/null
# Once: its slots are the user's to change.
airflow pools get gpu_cluster > /dev/null 2>&1 ||
  airflow pools set gpu_cluster 1 "Spark applications at a time" > /dev/null
# In a group of its own, so that Ctrl-C reaches this script alone. Airflow's components wait for ever
# if they are told to end twice: by the terminal and by their parent.
set -m
airflow standalone &
trap 'kill -INT "$!"' INT TERM HUP
# A signal ends the wait, and not yet Airflow.
while wait "$!" && code=0 || code=$?; kill -0 "$!" 2> /dev/null; do :; done
exit "$code"
