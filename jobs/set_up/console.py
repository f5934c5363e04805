"""What every set-up says, and how it ends. Standard library only: it runs before any package."""

from __future__ import annotations

import sys
from collections.abc import Callable


class SetUpError(Exception):
    """Something is missing on this machine; the message says what it is and how to get it."""


def say(line: str) -> None:
    """Prints a line of progress at once, also into a pipe."""
    print(line, flush=True)


def end_with_code(set_up: Callable[[], None], name: str = "Set-up") -> int:
    """Runs a set-up.

    Returns:
        The exit code: 0 ready, 1 something is missing or cannot be written, and was named, 130
        interrupted.
    """
    try:
        set_up()
    except (SetUpError, OSError) as error:
        print(f"{name} stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name} interrupted. Run the same command to go on.", file=sys.stderr)
        return 130
    return 0
