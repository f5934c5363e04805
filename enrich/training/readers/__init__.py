"""Labelled products of every layout that training reads, one module a layout.

A reader returns rows (`rows.py`); what a label's number is and who is held back is decided from
them in `enrich.training.labelled`.
"""
