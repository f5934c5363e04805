"""The page of a run: what it shows is counted and chosen here, and drawn by `enrich.report`."""
