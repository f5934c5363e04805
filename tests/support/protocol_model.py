"""The protocol in memory: what stands in the tables after each command.

Applies the rules of `enrich.spark.rules` to plain values, and tells the rest of the protocol a
second time: commits in their order, intents and their outcomes, counts. Starts no Spark.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from memory_tables import (
    Candidate,
    Content,
    Encoding,
    Event,
    Finding,
    MemoryTables,
    Product,
    Recipe,
    Refused,
    Request,
    Row,
    Version,
    follow,
    look_at,
    order_of,
    read_content,
    take_back,
)

from enrich.spark import rules
from enrich.spark.rules import Comparison, Run, checkpoint_of, is_newer, is_superseded
from schemas.tables import (
    BROKEN,
    DUE,
    TO_ANSWER,
    VALIDATED,
    DiffKind,
    Op,
    Outcome,
    Reason,
    State,
    Status,
)


class Compared(NamedTuple):
    """A row of the diff."""

    product: Product
    content: Content
    outcome: Outcome


Diff = Sequence[Compared]
# Cuts the contents that a run encodes into chunks.
Chunks = Callable[[Sequence[Content]], Iterable[Sequence[Content]]]


def in_twos(contents: Sequence[Content]) -> Iterable[Sequence[Content]]:
    """Cut contents into chunks of two."""
    return [contents[place : place + 2] for place in range(0, len(contents), 2)]


@dataclass
class Model(MemoryTables):
    """What each command does to the tables."""

    deletes: bool = False
    intent_timeout: timedelta = rules.INTENT_TIMEOUT
    # Until when maintenance has looked ahead.
    latest: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    # What the last refresh need not have compared.
    left_out: Diff = ()

    # What people and nights do.

    def refresh(
        self, request: Request, kill_after: int | None = None, chunks: Chunks = in_twos
    ) -> str:
        """Refresh, and return the run's id."""
        runs = self._begin(kill_after)
        recipe, at = request.recipe, self.now()
        run_id, is_whole = f"r{len(self.recipes):03}", request.limit is None
        own = (request.trigger, request.run_date, at, is_whole, request.full_refresh, recipe.model)
        run = Run(
            *(run_id, -1, "", at, *own),
            caused_by=None,
            published_version=None,
            source_version=str(len(self.listed) - 1),
            settings=recipe.limits,
            compared_version=len(self.versions) - 1,
        )
        self.recipes[run_id] = recipe
        diff = self._compare(request, run, runs)
        changed = self.find_changed(run, runs)
        run = run._replace(diff=DiffKind.FULL if changed is None else DiffKind.CHANGES)
        # Pictures that a listing has unchanged are not asked for, whatever the store would say.
        seen = self._compare(request._replace(store_is_down=False), run, runs)
        self.left_out = [
            one
            for one in seen
            if changed is not None and one.product.product_id not in {None, *changed}
        ]
        counts = _count_diff(diff)
        run = run._replace(missing=counts["missing"], deleted=0)
        superseded = is_superseded(run.attempt, runs)
        deletes = self.deletes and not superseded and counts["missing"] > 0
        has_new = _count(diff, Outcome.NEW, Outcome.CHANGED) > 0
        is_checked = has_new or _count(diff, *BROKEN) > 0.02 * counts["read"]
        is_cut_off = is_whole and not counts["read"] and counts["missing"] and not self.deletes
        if is_cut_off or (is_checked and request.blocks == "input"):
            return self._end(Event(run, counts), State.BLOCKED, runs)
        if not counts["due"] and not deletes:
            self._quarantine(run, diff, {}, runs)
            return self._end(Event(run, counts), State.NOTHING_TO_DO, runs)
        event = self._append(Event(run, counts), State.STARTED)
        held, encoded = self._encode(run, diff, chunks, runs)
        candidates = self._answer(diff, held, recipe, deletes)
        self.candidates[run_id] = candidates
        self.commit("candidates")
        answered = sum(one.op == Op.UPSERT for one in candidates)
        event = event._replace(
            counts={
                **counts,
                "answered": answered,
                "encoded": encoded,
                "reused": len(held) - encoded,
                "withheld": answered + _count(diff, Outcome.HELD_BACK),
                "quarantined": counts["quarantined"] + counts["due"] - answered,
            }
        )
        self._quarantine(run, diff, held, runs)
        if request.blocks == "candidates" and any(one.reason in VALIDATED for one in candidates):
            return self._end(event, State.BLOCKED, runs)
        if not candidates:
            return self._end(event, State.NOTHING_TO_DO, runs)
        if not request.publishes:
            return self._end(event, State.STAGED, runs)
        self._publish(self._append(event, State.PUBLISHING))
        self._supersede(run, self.runs)
        return run_id

    def approve(
        self, name: str, model: str, reason: str | None, kill_after: int | None = None
    ) -> None:
        """Publish what waits, or release what a rollback holds back."""
        self._begin(kill_after)
        run = self.find_run(name)
        if run.is_accepted:
            return
        was_published = run.state in (State.ROLLED_BACK, State.RELEASED)
        needs_reason = run.state in (State.BLOCKED, State.ROLLED_BACK)
        is_impossible = not (run.is_waiting or was_published) or run.model_version != model
        if is_impossible or (needs_reason and not reason) or not self.candidates.get(run.run_id):
            raise Refused
        decision = State.RELEASED if was_published else State.APPROVED
        event = self.last(run.run_id)
        decided = follow(event, decision, reason=reason or event.reason, caused_by=None)
        intent = follow(decided, State.PUBLISHING)
        self.write_events([decided, intent])
        self._publish(intent)

    def discard(self, name: str, kill_after: int | None = None) -> None:
        """Decide that what waits is not published."""
        self._begin(kill_after)
        run = self.find_run(name)
        if run.state == State.DISCARDED:
            return
        if not run.is_waiting:
            raise Refused
        self.write_events([follow(self.last(run.run_id), State.DISCARDED, reason="no good")])

    def roll_back(self, run_id: str, kill_after: int | None = None) -> None:
        """Restore the table as it was before a run."""
        runs = self._begin(kill_after)
        run = self.last(run_id).run
        if run.state == State.ROLLED_BACK:
            return
        counts = self.last(run_id).counts
        has_published = run.state == State.PUBLISHED and counts["published"] + counts["deleted"]
        is_gone = counts["published"] and run_id not in self.candidates
        if not has_published or is_gone or any(other.has_open_intent for other in runs):
            raise Refused
        assert run.published_version is not None
        intent = follow(self.last(run_id), State.ROLLING_BACK, reason="no good")
        self.write_events([intent])
        rows = self.versions[run.published_version - 1].rows
        self.versions.append(Version(run_id, "RESTORE", self.now(), rows))
        self.commit("restore")
        self._conclude_rollback(intent, runs)

    def maintain(self, days_later: int = 0) -> None:
        """Delete what nobody needs, as after so many more days."""
        runs, now = self._begin(None), self.clock + timedelta(days=days_later)
        self.latest = max(self.latest, now)
        month = timedelta(days=30)
        for run_id in rules.list_unneeded_candidates(runs, now, keep=month, retention=month):
            self.candidates.pop(run_id, None)
        recent = [run.run_id for run in runs if now - run.at < timedelta(days=90)]
        encoders = {self.recipes[run_id].encoder for run_id in recent}
        latest = {(one.encoder, one.content): one for one in self.encodings}
        published = {row.content for row in self.published.values()}

        def is_needed(one: Encoding) -> bool:
            is_used = one.encoder in encoders and latest[one.encoder, one.content] is one
            is_young = now - one.at < timedelta(days=90)
            return is_used and (is_young or one.content in published)

        if recent:
            is_settled = timedelta(days=7)
            self.encodings = [
                one for one in self.encodings if now - one.at <= is_settled or is_needed(one)
            ]

    def correct(self, product_id: str, attribute: str, label: str | None) -> None:
        """Set a person's label."""
        self.corrections[product_id, attribute] = label

    def withdraw(self, product_id: str) -> None:
        """Withdraw all corrections of a product."""
        for key in [key for key in self.corrections if key[0] == product_id]:
            del self.corrections[key]

    def write(self, products: Sequence[Product]) -> None:
        """Replace the product table."""
        self.products = list(products)
        self.listed.append(tuple(products))

    def wait(self, days: float) -> None:
        """Let time pass."""
        self.clock += timedelta(days=days)

    def find_changed(self, run: Run, runs: Sequence[Run]) -> set[str] | None:
        """Return the ids that a diff of changes compares (R13), None where it compares all."""
        full_since = max(self.clock, self.latest) - timedelta(days=7)
        base = rules.find_base(run, runs, full_since, deletes=self.deletes)
        commits = [(at, one.run_id, one.operation) for at, one in enumerate(self.versions)]
        if base is None or not rules.is_unchanged_since(base, commits):
            return None
        feed = [Counter(rows) for rows in self.listed[int(base.source_version) :]]
        ids = {
            one.product_id
            for old, new in pairwise(feed)
            for one in old.keys() | new.keys()
            if old[one] != new[one]
        }
        ids |= {one.product_id for one in self.quarantine}
        ids |= {key[0] for key in self._select_held_back(runs, checkpoint_of(run.model_version))}
        recipe = self.recipes[run.run_id]
        for product_id, row in self.published.items():
            said = rules.PublishedRow(
                is_newer=is_newer(row.attempt, base.attempt),
                has_same_model=row.model == run.model_version,
                has_same_corrections=row.corrections == self.corrections_of(product_id, recipe),
                status=row.status,
            )
            # Of a picture only the product table says here that it is another one.
            if rules.must_be_compared(said, has_images=False):
                ids.add(product_id)
        return {one for one in ids if one is not None}

    # Parts of a refresh.

    def _compare(self, request: Request, run: Run, runs: Sequence[Run]) -> Diff:
        held_back = self._select_held_back(runs, checkpoint_of(run.model_version))
        accepted = {one.run_id for one in runs if one.is_accepted}
        findings = [one for one in self.quarantine if one.run_id in accepted and one.status]
        diff, seen = [], set[str | None]()

        def compare(product: Product, content: Content, *, is_listed: bool) -> None:
            row = self.published.get(product.product_id or "")
            key = (product.product_id, content)
            found = [
                self._holds(one, run) for one in findings if (one.product_id, one.content) == key
            ]
            is_unread = content.picture.startswith("down")
            details = (product.category, self.corrections_of(product.product_id, request.recipe))
            facts = Comparison(
                is_listed=is_listed,
                is_malformed=False,
                has_id=product.product_id is not None,
                is_repeated=product.product_id in seen,
                is_published=row is not None,
                is_newer=row is not None and is_newer(row.attempt, run.attempt),
                has_same_content=row is not None and row.content == content,
                has_same_model=row is not None and row.model == run.model_version,
                has_same_details=row is not None and (row.category, row.corrections) == details,
                was_unreadable=row is not None
                and row.status == Status.IMAGE_UNREADABLE
                and not is_unread,
                is_held_back=key in held_back,
                is_quarantined=any(found) or (bool(found) and is_unread),
                was_retried=bool(found) and not any(found),
                is_renewed=request.full_refresh,
            )
            diff.append(Compared(product, content, rules.outcome_of(facts)))

        for product in sorted(self.products, key=order_of)[: request.limit]:
            compare(product, look_at(product, request.store_is_down), is_listed=True)
            seen.add(product.product_id)
        listed = len(diff)
        for product_id in sorted(self.published.keys() - seen) if run.is_whole else ():
            compare(Product(product_id, ""), Content("", ""), is_listed=False)
        # A published row of a newer run is not missing from an older product table.
        return diff[:listed] + [one for one in diff[listed:] if one.outcome == Outcome.MISSING]

    def _encode(
        self, run: Run, diff: Diff, chunks: Chunks, runs: Sequence[Run]
    ) -> tuple[dict[Content, Encoding], int]:
        """Encode what no encoding holds for; return what holds, and how many are new."""
        recipe = self.recipes[run.run_id]
        since = None
        if run.full_refresh:
            since = rules.find_full_refresh_start(run.trigger, run.run_date, runs) or run.started_at
        earlier = [one for one in self.encodings if since is None or one.at >= since]
        wanted = {one.content for one in diff if one.outcome in TO_ANSWER}

        def hold(encodings: Iterable[Encoding]) -> dict[Content, Encoding]:
            mine = (one for one in encodings if one.encoder == recipe.encoder)
            # Of several the latest counts.
            return {
                one.content: one for one in mine if one.content in wanted and self._holds(one, run)
            }

        asked = sorted(wanted - hold(earlier).keys())
        for chunk in chunks(asked) if asked else ():
            lineage = (recipe.encoder, self.now(), recipe.limits)
            self.encodings += [
                Encoding(run.run_id, content, *lineage, *read_content(content, recipe.limits))
                for content in chunk
            ]
            self.commit("encodings")
        own = [one for one in self.encodings if one.run_id == run.run_id]
        return hold([*earlier, *own]), len(asked)

    def _holds(self, one: Encoding | Finding, run: Run) -> bool:
        return bool(
            rules.holds(
                one.status,
                has_same_limits=one.limits == self.recipes[run.run_id].limits,
                is_own=one.run_id == run.run_id,
                is_recent=self.clock - one.at < rules.CRASH_HOLDS,
            )
        )

    def _has_expired(self, one: Finding, run: Run) -> bool:
        # A picture that stays out of reach is not found anew each night.
        is_kept = one.status in (None, Status.IMAGE_UNREADABLE)
        return not is_kept and not self._holds(one, run)

    def _answer(
        self, diff: Diff, held: Mapping[Content, Encoding], recipe: Recipe, deletes: bool
    ) -> tuple[Candidate, ...]:
        found = []
        for product, content, outcome in diff:
            product_id = product.product_id or ""
            row = self.published.get(product_id)
            replaces = row.attempt.run_id if row else None
            if outcome in TO_ANSWER and held[content].is_readable:
                said = (content, recipe.model, held[content].status, product.category)
                found.append(Candidate(product_id, Op.UPSERT, outcome, replaces, *said))
            elif outcome == Outcome.REVISED and row:
                said = (row.content, row.model, row.status, product.category)
                found.append(Candidate(product_id, Op.UPSERT, outcome, replaces, *said))
            elif outcome == Outcome.MISSING and deletes:
                found.append(Candidate(product_id, Op.DELETE, outcome, replaces))
        return tuple(found)

    def _quarantine(
        self, run: Run, diff: Diff, held: Mapping[Content, Encoding], runs: Sequence[Run]
    ) -> None:
        """Append findings that no accepted run has."""
        refused = {one.run_id for one in runs if not one.is_accepted}
        known = {
            one[1:5]
            for one in self.quarantine
            if one.run_id not in refused and not self._has_expired(one, run)
        }
        found = set()
        for product, content, outcome in diff:
            if outcome in BROKEN:
                found.add((product.product_id, content, Reason(outcome), None))
            elif outcome in TO_ANSWER and not held[content].is_readable:
                status = held[content].status
                has_crashed = status == Status.WORKER_CRASHED
                reason = Reason.WORKER_CRASHED if has_crashed else Reason.NO_MODALITY
                found.add((product.product_id, content, reason, status))
        if found - known:
            lineage = (self.recipes[run.run_id].limits, self.now())
            self.quarantine += [Finding(run.run_id, *one, *lineage) for one in found - known]
            self.commit("quarantine")

    def _select_held_back(
        self, runs: Sequence[Run], checkpoint: str
    ) -> set[tuple[str | None, Content]]:
        """Return what rollbacks hold back (R6)."""
        named = {run.run_id for run in runs if run.holds_back}
        undone = {run.run_id for run in runs if run.state == State.ROLLED_BACK and run.caused_by}
        upserts = [
            (run_id, one, (one.product_id, one.content))
            for run_id, candidates in self.candidates.items()
            for one in candidates
            if one.op == Op.UPSERT
        ]
        wrong = {key for run_id, _, key in upserts if run_id in named}
        return {
            key
            for run_id, one, key in upserts
            if checkpoint_of(one.model) == checkpoint
            and (
                (run_id in named and one.reason != Outcome.REVISED)
                or (run_id in undone and one.reason == Outcome.REANSWERED and key in wrong)
            )
        }

    # Events, and the acts between an intent and its outcome (R5).

    def _begin(self, kill_after: int | None) -> list[Run]:
        self.commits, self.kill_after = [], kill_after
        self._complete_intents()
        return self.runs

    def _complete_intents(self) -> None:
        runs = self.runs
        for run in runs:
            if not run.has_open_intent:
                continue
            event = self.last(run.run_id)
            is_rollback = run.state == State.ROLLING_BACK
            operation = "RESTORE" if is_rollback else "MERGE"
            made = [
                place
                for place, one in enumerate(self.versions)
                if (one.run_id, one.operation) == (run.run_id, operation) and one.at >= run.at
            ]
            if made and is_rollback:
                self._conclude_rollback(event, runs)
            elif made:
                self._conclude_publication(event, made[-1])
            elif self.clock - run.at > self.intent_timeout:
                before = self.events[run.run_id][run.number - 1].run.state
                state = State.FAILED if before == State.STARTED else State(before)
                self.write_events([follow(event, state)])

    def _publish(self, intent: Event) -> None:
        run, others = intent.run, [one for one in self.runs if one.run_id != intent.run.run_id]
        superseded = is_superseded(run.attempt, others)
        held_back = self._select_held_back(others, checkpoint_of(run.model_version))
        rows, done = dict(self.published), Counter[Op]()
        for one in self.candidates[run.run_id]:
            old, is_upsert = rows.get(one.product_id), one.op == Op.UPSERT
            is_held = (one.product_id, one.content) in held_back and one.reason != Outcome.REVISED
            # Inserts and deletions are for runs that no newer run supersedes (R4).
            is_left = is_held or (superseded and (old is None or not is_upsert))
            if is_left or (old is None and not is_upsert):
                continue
            if old is not None and not rules.may_update(
                run.attempt, old.attempt, one.replaces, is_superseded=superseded
            ):
                continue
            done[one.op] += 1
            if is_upsert:
                corrections = self.corrections_of(one.product_id, self.recipes[run.run_id])
                rows[one.product_id] = Row(*one[4:], corrections, run.attempt)
            else:
                del rows[one.product_id]
        made = Version(run.run_id, "MERGE", self.now(), rows, done[Op.UPSERT], done[Op.DELETE])
        self.versions.append(made)
        self.commit("merge")
        self._conclude_publication(intent, len(self.versions) - 1)

    def _conclude_publication(self, intent: Event, version: int) -> None:
        made, counts = self.versions[version], intent.counts
        withheld = counts["withheld"] - made.written
        changed = {"published": made.written, "deleted": made.deleted, "withheld": withheld}
        said = {"published_version": version, "deleted": made.deleted}
        following = follow(intent, State.PUBLISHED, **said)
        self.write_events([following._replace(counts={**counts, **changed})], "run_events")

    def _conclude_rollback(self, intent: Event, runs: Sequence[Run]) -> None:
        run = intent.run
        events = [take_back(intent, intent.reason, None)]
        for other in runs:
            if not other.is_accepted or other.run_id == run.run_id:
                continue
            if other.published_version is None:
                is_undone = other.started_at > run.started_at
            else:
                is_undone = other.published_version > (run.published_version or 0)
            if is_undone:
                events.append(take_back(self.last(other.run_id), intent.reason, run.run_id))
        self.write_events(events, "run_events")

    def _append(self, event: Event, state: State) -> Event:
        following = follow(event, state)
        self.write_events([following], "run_events")
        return following

    def _end(self, event: Event, state: State, runs: Sequence[Run]) -> str:
        self._append(event, state)
        self._supersede(event.run, runs)
        return event.run.run_id

    def _supersede(self, run: Run, runs: Sequence[Run]) -> None:
        for other in runs:
            if run.trigger and other.trigger == run.trigger and other.is_waiting:
                self.write_events([follow(self.last(other.run_id), State.SUPERSEDED)])


def _count(diff: Diff, *outcomes: Outcome) -> int:
    return sum(one.outcome in outcomes for one in diff)


def _count_diff(diff: Diff) -> dict[str, int]:
    due, missing = _count(diff, *DUE), _count(diff, Outcome.MISSING)
    return {
        "read": len(diff) - missing,
        "due": due,
        "encoded": 0,
        "reused": 0,
        "answered": 0,
        "published": 0,
        "unchanged": _count(diff, Outcome.UNCHANGED, Outcome.SUPERSEDED),
        "withheld": due + _count(diff, Outcome.HELD_BACK),
        "quarantined": _count(diff, *BROKEN, Outcome.QUARANTINED),
        "missing": missing,
        "deleted": 0,
    }
