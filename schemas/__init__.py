"""Labels, tables and views that all packages share. Standard library only."""
