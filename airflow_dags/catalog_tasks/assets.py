"""The two tables as Airflow knows them: who writes one, and who waits for it.

Their names say nothing of where the tables are: a path belongs to a deployment, and the parts of
Airflow that read a DAG file must not ask for one.
"""

from airflow.sdk import Asset

# Written by somebody else's DAG (`outlets=[Asset("product_table")]`), or by a call of Airflow's
# API when something outside Airflow has written the products.
PRODUCT_TABLE = Asset("product_table")

# What consumers schedule on. Its events carry run_id, counts and the table's Delta version.
PRODUCT_ATTRIBUTES = Asset("product_attributes")
