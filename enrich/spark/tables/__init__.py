"""The output tables: made, brought up to date, written, kept small, and what their history says."""
