"""Comparisons of checkpoints, explanations of answers, and the export to int8."""
