"""What the protocol promises, whatever people and nights do: random commands on the model.

The promises are told here without the rules that the model applies.
"""

import os
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

import pytest
from memory_tables import Content, Killed, Product, Refused, Request, Row, look_at, read_content
from protocol_model import Model
from random_commands import Command, Draw

from enrich.spark import rules
from schemas.tables import VALIDATED, Op, Outcome, State, Status

SEEDS = int(os.environ.get("MODEL_SEEDS", "3000"))
PARTS = 10
COMMANDS = 20
# How many of the refreshes are also killed at every commit.
_KILLED_SHARE = 0.05

# States of runs that may have rows in product_attributes.
_HAS_ROWS = (State.PUBLISHED, State.PUBLISHING, State.ROLLING_BACK)
_ACCEPTED = (State.PUBLISHED, State.NOTHING_TO_DO)
# States of a run that a person has released.
_RELEASED = (State.RELEASED, State.PUBLISHING, State.PUBLISHED)
_HAS_NOT_ENDED = (State.STARTED, State.PUBLISHING, State.FAILED)
_WAITING = (State.STAGED, State.BLOCKED, State.APPROVED)
# A picture that is out of reach is asked for in each run.
_IS_READ_AGAIN = (Status.IMAGE_UNREADABLE,)
_A_WEEK = timedelta(days=7)

HeldBack = tuple[str, Content, str]


class Place(NamedTuple):
    """A run's place among all: a larger one is newer."""

    run_date: date
    started_at: datetime
    run_id: str


class Witness:
    """Sees each command and what became of the tables, and knows what must not have happened."""

    def __init__(self, model):
        self.model = model
        self.requests: dict[str, Request] = {}
        self.left_out = 0
        self.products: dict[str, list[Product]] = {}
        # The table before each publication, what the run wrote, and what of it were other answers
        # to a content that was published.
        self.before: dict[str, Mapping[str, Row]] = {}
        self.wrote: dict[str, set[HeldBack]] = {}
        self.reanswered: dict[str, set[HeldBack]] = {}
        # What a rolled-back run, and those that it undid, keep from coming back.
        self.held_back: dict[tuple[str, str], set[HeldBack]] = {}
        self._remember()

    def run(self, command):
        """Run a command on the model, and check the tables."""
        model = self.model
        is_done = False
        if command.name == "refresh":
            self.requests[f"r{len(model.recipes):03}"] = command.arguments["request"]
            self.products[f"r{len(model.recipes):03}"] = list(model.products)
        try:
            command.run(model)
            is_done = True
        except (Killed, Refused):
            pass
        self._check_events()
        self._check_rows()
        self._check_candidates(command)
        self._check_encodings(command)
        self._check_left_out()
        for run_id in model.candidates.keys() - self._candidates.keys():
            self._check_asked(run_id)
        if command.name == "refresh" and is_done:
            self._check_refresh(command.arguments["request"])
        self._remember()

    def _remember(self):
        model = self.model
        self._rows = self._seen = model.published
        self._versions = len(model.versions)
        self._encoded = len(model.encodings)
        self._candidates = dict(model.candidates)
        self._lengths = {run_id: len(events) for run_id, events in model.events.items()}
        self._states = {run.run_id: run.state for run in model.runs}

    def _check_events(self):
        """Counts add up, and events are appended only."""
        for run_id, events in self.model.events.items():
            seen = self._lengths.get(run_id, 0)
            assert len(events) >= seen
            for number, event in enumerate(events):
                assert event.run.number == number
                if number >= seen:
                    self._check_counts(event)

    def _check_counts(self, event):
        counts = event.counts
        parts = ("published", "unchanged", "withheld", "quarantined")
        assert counts["read"] == sum(counts[name] for name in parts), event
        assert min(counts.values()) >= 0
        assert counts["answered"] <= counts["due"]
        assert counts["deleted"] <= counts["missing"]

    def _check_rows(self):
        """Each commit changed what its run may change."""
        model = self.model
        for version in model.versions[self._versions :]:
            if version.operation == "MERGE":
                self._check_publication(version.run_id, version.rows)
            else:
                assert version.rows == self.before[version.run_id]
                self._note_rollback(version.run_id)
            self._rows = version.rows
        states = {run.run_id: run.state for run in model.runs}
        for row in model.published.values():
            assert states[row.attempt.run_id] in _HAS_ROWS, row
        for named, run_id in list(self.held_back):
            is_released = {states[named], states[run_id]} & set(_RELEASED)
            # Maintenance has deleted the candidates: their checkpoint is out of use.
            if is_released or not {named, run_id} <= model.candidates.keys():
                del self.held_back[named, run_id]

    def _check_publication(self, run_id, rows):
        before, request = self._rows, self.requests[run_id]
        own = self._place(run_id)
        candidates = {one.product_id: one for one in self.model.candidates[run_id]}
        is_newest = not any(place > own for place in self._accepted_wholes(run_id))
        held_back = set[HeldBack]().union(
            *(held for runs, held in self.held_back.items() if run_id not in runs)
        )
        self.before[run_id], self.reanswered[run_id] = before, set()
        wrote = self.wrote.setdefault(run_id, set())
        for product_id in before.keys() | rows.keys() | candidates.keys():
            old, new = before.get(product_id), rows.get(product_id)
            candidate = candidates.get(product_id)
            assert (old == new) or candidate, "only what the gate saw is published"
            if candidate is None:
                continue
            is_older = old is None or self._place(old.attempt.run_id) < own
            is_seen = old is not None and old.attempt.run_id == candidate.replaces
            may_change = is_older and (is_newest or (is_seen and candidate.op == Op.UPSERT))
            key = (product_id, candidate.content, candidate.model.split("-")[0])
            is_revised = candidate.reason == Outcome.REVISED
            assert new == old or is_revised or key not in held_back, "held back"
            if not is_revised and new == old and self._may_be_held_back(*key, but=run_id):
                continue
            if candidate.op == Op.DELETE:
                assert (new is None) if may_change else (new == old)
                listed = {product.product_id for product in self.products[run_id]}
                assert new or (self.model.deletes and product_id not in listed)
            elif may_change:
                assert new is not None
                assert new.attempt.run_id == run_id
                assert new[:4] == candidate[4:]
                is_same = old is not None and old[:2] == new[:2]
                if not is_same or request.full_refresh or _was_unreadable(old):
                    wrote.add(key)
                    if old is not None and old.content == new.content:
                        self.reanswered[run_id].add(key)
            else:
                assert new == old

    def _note_rollback(self, run_id):
        wrong = self.wrote[run_id]
        contents = {(product_id, content) for product_id, content, _ in wrong}
        later = [version for version in self.before if self._published_after(version, run_id)]
        self.held_back[run_id, run_id] = wrong
        for other in later:
            again = {one for one in self.reanswered[other] if one[:2] in contents}
            self.held_back[run_id, other] = again

    def _published_after(self, one, other):
        ids = [version.run_id for version in self.model.versions if version.operation == "MERGE"]
        return one in ids and ids[::-1].index(one) < ids[::-1].index(other)

    def _check_candidates(self, command):
        now = self.model.candidates
        for run_id, candidates in self._candidates.items():
            if run_id in now:
                assert now[run_id] is candidates
            else:
                assert command.name == "maintain"
                if self._states[run_id] in _WAITING:
                    accepted = [run for run in self.model.runs if run.state in _ACCEPTED]
                    newest = max(self._place(run.run_id) for run in accepted if run.is_whole)
                    assert newest > self._place(run_id), "nobody needs a decision any more"
        for candidates in now.values():
            ids = Counter(one.product_id for one in candidates)
            assert max(ids.values(), default=1) == 1

    def _check_asked(self, run_id):
        """What a newer run has published is not asked again, and retries are not judged."""
        accepted = {run.run_id for run in self.model.runs if run.state in _ACCEPTED}
        found = {
            one[1:3]
            for one in self.model.quarantine
            if one.status and one.run_id in accepted - {run_id}
        }
        for one in self.model.candidates[run_id]:
            row = self._seen.get(one.product_id)
            assert row is None or self._place(row.attempt.run_id) < self._place(run_id)
            assert one.replaces == (row.attempt.run_id if row else None)
            is_again = _was_unreadable(row) and row and row[:2] == (one.content, one.model)
            was_found = row is None and (one.product_id, one.content) in found
            if (is_again or was_found) and not self.requests[run_id].full_refresh:
                assert one.reason not in VALIDATED

    def _check_encodings(self, command):
        """Nothing is encoded while an encoding of it holds."""
        if command.name == "maintain":
            return
        model = self.model
        old, new = model.encodings[: self._encoded], model.encodings[self._encoded :]
        keys = Counter((one.encoder, one.content) for one in new)
        assert max(keys.values(), default=1) == 1
        if command.name != "refresh" or command.arguments["request"].full_refresh:
            return
        limits = command.arguments["request"].recipe.limits
        for one in old:
            if (one.encoder, one.content) not in keys or one.status in _IS_READ_AGAIN:
                continue
            if one.status == Status.IMAGE_TOO_LARGE and one.limits != limits:
                continue
            assert one.status == Status.WORKER_CRASHED
            assert model.clock - one.at > _A_WEEK

    def _check_left_out(self):
        """A diff of changes leaves out what is published as it is, or is missing and stays."""
        kept = () if self.model.deletes else (Outcome.MISSING,)
        for one in self.model.left_out:
            assert one.outcome in (Outcome.UNCHANGED, *kept), one
            self.left_out += 1

    def _check_refresh(self, request):
        """After a whole run at the newest date the table says what the product table says."""
        model = self.model
        run = model.runs[-1]
        if run.state not in _ACCEPTED or not request.publishes:
            return
        own = self._place(run.run_id)
        rows = [self._place(row.attempt.run_id) for row in model.published.values()]
        if any(place > own for place in (*rows, *self._accepted_wholes(run.run_id))):
            return
        listed = _first_of_each(model.products, request.limit)
        for product_id, product in listed.items():
            self._check_product(run.run_id, product_id, product)
        if run.is_whole and model.deletes:
            assert model.published.keys() <= listed.keys()

    def _check_product(self, run_id, product_id, product):
        model, request = self.model, self.requests[run_id]
        recipe = request.recipe
        content = look_at(product, request.store_is_down)
        row = model.published.get(product_id)
        said = {
            attribute: label
            for (one, attribute), label in model.corrections.items()
            if one == product_id and attribute in recipe.attributes
        }
        details = (product.category, tuple(sorted(said.items())))
        if self._may_be_held_back(product_id, content, recipe.model.split("-")[0]):
            assert row is None or row[3:5] == details
            return
        _, is_readable = read_content(content, recipe.limits)
        if is_readable:
            assert row is not None
            assert row[:2] == (content, recipe.model)
            assert row[3:5] == details
            assert row.status != Status.IMAGE_UNREADABLE or request.store_is_down

    def _may_be_held_back(self, product_id, content, checkpoint, but=""):
        """Tell whether a run that was rolled back had such a candidate, published or not."""
        return any(
            (one.product_id, one.content, one.model.split("-")[0])
            == (product_id, content, checkpoint)
            for run in self.model.runs
            if run.state == State.ROLLED_BACK and run.run_id != but
            for one in self.model.candidates.get(run.run_id, ())
        )

    def _place(self, run_id):
        run = self.model.last(run_id).run
        return Place(run.run_date, run.started_at, run_id)

    def _accepted_wholes(self, but):
        for run in self.model.runs:
            if run.state in _ACCEPTED and run.is_whole and run.run_id != but:
                yield self._place(run.run_id)


@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_after_random_commands(part):
    for seed in range(part, SEEDS, PARTS):
        log: list[Command] = []
        try:
            _run_seed(seed, log)
        except AssertionError as error:
            listed = "\n".join(map(str, log))
            raise AssertionError(f"seed {seed}: {error}\n{listed}") from error


def _run_seed(seed, log):
    draw = Draw(seed)
    model = Model(deletes=draw.random.random() < 0.5)
    witness = Witness(model)
    log.append(draw.draw_products(is_first=True))
    witness.run(log[-1])
    for _ in range(COMMANDS):
        log.append(draw.draw(model))
        before = model.copy()
        witness.run(log[-1])
        if log[-1].name == "refresh" and draw.random.random() < _KILLED_SHARE:
            request = log[-1].arguments["request"]
            _check_kills(before, request)
            _check_second_run(before, request)
            _check_blocks(before, request)


def _check_kills(model, request):
    """A run that is killed after any of its commits, and said again, is one that was not."""
    undisturbed = model.copy()
    run_id = undisturbed.refresh(request)
    for number, commit in enumerate(undisturbed.commits, 1):
        killed = model.copy()
        with pytest.raises(Killed):
            killed.refresh(request, kill_after=number)
        killed.refresh(request)
        assert _contents(killed) == _contents(undisturbed), f"killed after {number}, {commit}"
        first = {run.run_id: run.state for run in killed.runs}.get(run_id, State.STARTED)
        if not request.full_refresh or first in _HAS_NOT_ENDED:
            assert _count_encodings(killed) == _count_encodings(undisturbed), f"{number}, {commit}"


def _check_second_run(model, request):
    """Right after a run that has published there is nothing to do."""
    request = request._replace(full_refresh=False, publishes=True, blocks="")
    model = model.copy()
    first = model.last(model.refresh(request))
    if request.store_is_down or first.run.state not in _ACCEPTED:
        return
    if first.counts["answered"] > first.counts["published"]:
        # A newer whole run has not seen these products.
        return
    versions, encodings = len(model.versions), len(model.encodings)
    second = model.last(model.refresh(request))
    assert second.run.state == State.NOTHING_TO_DO
    assert second.run.number == 0, "it has nothing to do, and finds that out at once"
    assert (len(model.versions), len(model.encodings)) == (versions, encodings)


def _check_blocks(model, request):
    """What the gate has blocked, the next run that passes publishes."""
    request = request._replace(publishes=True, blocks="")
    undisturbed, blocked = model.copy(), model.copy()
    undisturbed.refresh(request)
    for suite in ("input", "candidates"):
        blocked.refresh(request._replace(blocks=suite))
    blocked.refresh(request)
    assert _contents(blocked) == _contents(undisturbed)


def _contents(model):
    """Return what the published rows say, whichever run wrote them."""
    return {product_id: row[:5] for product_id, row in model.published.items()}


def _count_encodings(model):
    return Counter(
        (one.encoder, one.content) for one in model.encodings if one.status not in _IS_READ_AGAIN
    )


def _first_of_each(products, limit):
    """Return the product of each id; of several rows of one id the first counts."""
    known: dict[str, Product] = {}

    def order(one):
        fields = ((one is None, one or "") for one in (one.text, one.picture, one.category))
        return (one.product_id is not None, one.product_id or "", *fields)

    for product in sorted(products, key=order)[:limit]:
        if product.product_id is not None:
            known.setdefault(product.product_id, product)
    return known


def _was_unreadable(row):
    return row is not None and row.status == Status.IMAGE_UNREADABLE


def test_every_status_has_a_lifetime():
    assert set(rules.LIFETIMES) == set(Status)
