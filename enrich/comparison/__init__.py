"""Finished checkpoints side by side: what they answer, how sure that is, and what they cost."""
