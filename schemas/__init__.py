"""Contracts as data: label sets and table definitions. Imports nothing."""
