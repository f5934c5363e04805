"""Assets of Airflow for the two tables that other DAGs write or wait for.

Their names do not contain the tables' paths: a path belongs to a deployment, and parsing a DAG file
must not look it up.
"""

from airflow.sdk import Asset

# Written by somebody else's DAG (`outlets=[Asset("product_table")]`), or by a call of Airflow's
# API when something outside Airflow has written the products.
PRODUCT_TABLE = Asset("product_table")

# Consumers schedule on it. Its events carry run_id, counts and the table's Delta version.
PRODUCT_ATTRIBUTES = Asset("product_attributes")
