"""The product table that a run reads: its files, its columns, its pictures."""
