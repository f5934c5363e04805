"""The classifier's answers: cut into chunks, asked for on executors, staged."""
