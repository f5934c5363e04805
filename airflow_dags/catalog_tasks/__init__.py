"""What the DAG files are made of; knows the jobs' command lines and their exit codes, nothing else.

Imports Airflow and the standard library only: the jobs have an environment of their own.
"""
