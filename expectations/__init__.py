"""What staged labels must look like before they are published, checked by Great Expectations.

Knows the staged columns and label sets; knows nothing of classifiers, or of where a table is.
"""
