"""What enrich, expectations and jobs agree on: labels, tables, views. Standard library only."""
