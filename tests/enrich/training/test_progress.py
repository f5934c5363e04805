"""Somebody who reads a log learns as much as somebody at a terminal."""

import io

import pytest
from rich.console import Console

import enrich.progress
from enrich.training import progress
from enrich.training.progress import EpochProgress


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    for module in (progress, enrich.progress):
        monkeypatch.setattr(module, "CONSOLE", Console(file=written, width=60))
    return written


def test_a_log_gets_a_line_at_intervals_and_not_at_every_step(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 20.0, 40.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with EpochProgress("multitask epoch 2", steps=1_000, done=100) as shown:
        for _ in range(4):
            shown.count_step(0.25, products=400)
    assert log.getvalue() == ("multitask epoch 2: loss 0.2500, 30 products/s, step 103 of 1,000\n")


def test_a_terminal_shows_loss_and_speed_beside_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "CONSOLE", Console(file=screen, force_terminal=True, width=120))
    with EpochProgress("multitask epoch 2", steps=10, done=0) as shown:
        shown.count_step(0.25, products=400)
    assert "multitask epoch 2: loss 0.2500," in screen.getvalue()
    assert "products/s" in screen.getvalue() and "1/10" in screen.getvalue()
