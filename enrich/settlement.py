"""What a person decides of a run that waits: publish it, or drop it."""

from collections.abc import Mapping
from dataclasses import dataclass

from enrich.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is to become of a run that was staged and not published."""

    run_id: str
    is_drop: bool
    reason: str | None


def choose_settlement(
    publish_run: str | None,
    drop_run: str | None,
    reason: str | None,
    of_a_refresh: Mapping[str, object],
) -> Settlement | None:
    """Returns what the flags ask for, None where they ask for a refresh.

    Args:
        publish_run: The run to publish.
        drop_run: The run to drop.
        reason: Why.
        of_a_refresh: Flags that mean nothing here, and their values: False or None if not given.

    Raises:
        ConfigError: they contradict each other.
    """
    # An empty id, of a variable that was not set, is no wish for a refresh.
    run_id = drop_run if publish_run is None else publish_run
    if run_id is None:
        if reason is not None:
            raise ConfigError("--reason goes with --publish-run or --drop-run")
        return None
    if given := [flag for flag, value in of_a_refresh.items() if value not in (False, None)]:
        raise ConfigError(
            f"{', '.join(given)}: flags of a refresh, and a run is settled as it was staged; leave "
            "them out"
        )
    if publish_run is not None and drop_run is not None:
        raise ConfigError("--publish-run and --drop-run exclude each other")
    # Of blanks alone it would tell nobody anything.
    reason = reason and reason.strip()
    if drop_run is not None and not reason:
        raise ConfigError('why is the run dropped? Wanted: --reason "..."')
    return Settlement(run_id, drop_run is not None, reason)
