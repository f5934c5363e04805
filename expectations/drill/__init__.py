"""Drills the gate: how often does it stop a sound run, and does it stop a broken one?

Knows nothing of how products are answered: `enrich.drill` does.
"""
