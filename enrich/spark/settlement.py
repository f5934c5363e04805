"""What a person decides of a run that waits: publish it, or drop it."""

from dataclasses import dataclass

from enrich.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is to become of a run that was staged and not published."""

    run_id: str
    is_drop: bool
    reason: str | None


def choose_settlement(
    publish_run: str | None, drop_run: str | None, reason: str | None, *, dry_run: bool
) -> Settlement | None:
    """Returns what the flags ask for, None where they ask for a refresh.

    Raises:
        ConfigError: they contradict each other.
    """
    # An empty id, of a variable that was not set, is no wish for a refresh.
    run_id = drop_run if publish_run is None else publish_run
    if run_id is None:
        if reason is not None:
            raise ConfigError("--reason goes with --publish-run or --drop-run")
        return None
    if dry_run:
        raise ConfigError("--dry-run says what a refresh would do: give no run to settle")
    if publish_run is not None and drop_run is not None:
        raise ConfigError("--publish-run and --drop-run exclude each other")
    if drop_run is not None and not reason:
        raise ConfigError('why is the run dropped? Wanted: --reason "..."')
    return Settlement(run_id, drop_run is not None, reason)
