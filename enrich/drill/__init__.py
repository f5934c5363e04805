"""Products to drill the quality gate with, and answers to them: of a sound job, and of broken ones.

Knows nothing of what the gate looks at: `expectations.drill` does.
"""
