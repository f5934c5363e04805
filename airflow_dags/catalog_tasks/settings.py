"""Settings of a deployment, as templates that are filled in when a task starts.

Each is an Airflow Variable, or the environment variable AIRFLOW_VAR_<NAME>. They are not read while
a DAG file is parsed: Airflow parses every half minute, and would query its database each time.
Blanks and line ends around a value, which Airflow's form allows, are removed.
"""

from pathlib import Path

_THIS_CHECKOUT = Path(__file__).resolve().parents[2]

# The checkout that holds the jobs and their environment `.venv`.
CHECKOUT = f"{{{{ var.value.get('catalog_checkout', {str(_THIS_CHECKOUT)!r}) | trim }}}}"
# More arguments for spark-submit itself, as in a shell: --master yarn --conf "spark.x=a b".
SPARK_SUBMIT = "{{ var.value.get('catalog_spark_submit', '') }}"
# Platform that runs the job, as JSON; empty: spark-submit on this machine.
PLATFORM = "{{ var.value.get('catalog_platform', '') | trim }}"
# Folder of the summary files of jobs that run on a platform.
SUMMARIES = "{{ var.value.get('catalog_summaries', '') | trim }}"
# Empty: the settings' database.
DATABASE = "{{ var.value.get('catalog_database', '') | trim }}"
# Empty: the job's own default.
CONFIG = "{{ var.value.get('catalog_config', '') | trim }}"

# An asset's event starts a run that has no logical date.
RUN_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
# {run_date} names a folder or file for each day, so that a backfill reads that day's products.
PRODUCTS = (
    "{{ var.value.get('catalog_products', '') | trim"
    " | replace('{run_date}', (dag_run.logical_date or dag_run.run_after) | ds) }}"
)
# Airflow's own run id, the same for all retries. The job keeps it as the run's trigger.
RUN_ID = "{{ run_id }}"
