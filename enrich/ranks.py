"""Which one this process is of those that torchrun started together; alone it is the first.

Knows nothing of what they do together.
"""

import torch.distributed as dist


def rank() -> int:
    """Returns this process's number; 0 is the one that evaluates, saves and prints."""
    return dist.get_rank() if dist.is_initialized() else 0
