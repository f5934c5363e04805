"""Parts of the DAG files, which rely on the jobs' flags and exit codes only.

Imports Airflow and the standard library only: the jobs have an environment of their own.
"""
