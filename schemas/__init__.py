"""What enrich, expectations and jobs agree on. Imports the standard library alone.

That is labels, tables and views, a sample of images, the gate's verdict, and how figures and names
in SQL are written.
"""
