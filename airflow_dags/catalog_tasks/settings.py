"""What a deployment may set, as templates that are filled in when a task starts.

Each is an Airflow Variable, or the environment variable AIRFLOW_VAR_<NAME>. Read by no DAG file
while it is parsed: Airflow parses every half minute, and would ask its database each time. Blanks
and line ends around a value, which Airflow's form lets in, are cut off.
"""

from pathlib import Path

_THIS_CHECKOUT = Path(__file__).resolve().parents[2]

# The checkout that holds the jobs and their environment `.venv`.
CHECKOUT = f"{{{{ var.value.get('catalog_checkout', {str(_THIS_CHECKOUT)!r}) | trim }}}}"
# More arguments for spark-submit itself, as in a shell: --master yarn --conf "spark.x=a b".
SPARK_SUBMIT = "{{ var.value.get('catalog_spark_submit', '') }}"
# Where the job is run, as JSON; empty: by spark-submit on this machine.
PLATFORM = "{{ var.value.get('catalog_platform', '') | trim }}"
# The folder of the files by which jobs that run elsewhere say how they ended.
SUMMARIES = "{{ var.value.get('catalog_summaries', '') | trim }}"
DATABASE = "{{ var.value.get('catalog_database', 'enriched') | trim }}"
# Empty means that the job's own default holds.
CONFIG = "{{ var.value.get('catalog_config', '') | trim }}"

# An asset's event starts a run that has no logical date.
RUN_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
# {run_date} in it names a folder or file a day, so that a backfill reads what each day had.
PRODUCTS = (
    "{{ var.value.get('catalog_products', '') | trim"
    " | replace('{run_date}', (dag_run.logical_date or dag_run.run_after) | ds) }}"
)
# Airflow's own, which the job keeps as the run's trigger: the same over retries.
RUN_ID = "{{ run_id }}"
