"""Published weights to start from, and how they want their pictures."""
