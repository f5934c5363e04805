"""Contracts as data: label sets, table definitions, a sample of images. Imports nothing."""
