"""Random commands on the Delta tables, compared with the in-memory model after each."""

import hashlib
import json
import os
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from itertools import groupby, product
from typing import Any

import memory_tables
import pandas as pd
import pytest
from memory_tables import Killed, Product, Recipe, Refused, Request
from protocol_model import Model
from pyspark import cloudpickle
from random_commands import DAY, PICTURES, RECIPES, TEXTS, Command, Draw
from shop import FakeGate, Shop

from bench.fake_engine import FakeEngine, FakeEngineSpec
from enrich.errors import ConfigError, NothingPublished, TableContended
from enrich.images.locations import Location
from enrich.images.settings import ImageProblem
from enrich.images.store import ImageStore
from enrich.records import EncodedProduct, Modalities
from enrich.records import Product as EngineProduct
from enrich.spark import maintenance, publish, runs
from enrich.spark.diff import hash_content
from enrich.spark.refresh import Refresh
from enrich.spark.tables import Tables, now
from expectations.checks import Verdict
from schemas.tables import Status

SEQUENCES = int(os.environ.get("SEQUENCES", "2"))
COMMANDS = int(os.environ.get("COMMANDS", "12"))

# Spark's workers cannot import what only pytest has on its path.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(memory_tables)

_LABELS = {
    "one": {"color": ("red", "green", "blue"), "pattern": ("solid", "striped")},
    "two": {
        "color": ("blue", "red", "green"),
        "pattern": ("solid", "striped"),
        "sleeve": ("short", "long"),
    },
    "three": {"color": ("green", "blue", "red"), "pattern": ("striped", "solid")},
}
_COUNTS = (
    *("read", "due", "encoded", "reused", "answered", "published"),
    *("unchanged", "withheld", "quarantined", "missing", "deleted"),
)


class ToldStore(ImageStore):
    """A store whose pictures hold their own name."""

    is_down = False

    def resolve(self, image_path):
        if not image_path:
            raise ImageProblem(Status.IMAGE_MISSING, "no path")
        return Location("file", "", image_path)

    def read_at(self, location):
        if self.is_down:
            raise ImageProblem(Status.IMAGE_UNREADABLE, "no answer")
        return location.path.encode()


@dataclass(frozen=True, slots=True)
class ToldSpec(FakeEngineSpec):
    """Recipe of an engine that reads what the model says can be read."""

    is_down: bool = False

    def build(self, device):
        return ToldEngine(self)


class ToldEngine(FakeEngine):
    def _encode(self, product):
        row = Product(product.product_id, product.title or "", product.image_path)
        content = memory_tables.look_at(row, self._spec.is_down)
        status, is_readable = memory_tables.read_content(content, self._spec.limits_digest)
        vectors = super()._encode(product).vectors if is_readable else None
        modalities = Modalities.of(status == Status.OK, has_text=True) if is_readable else None
        return EncodedProduct(product.product_id, status, modalities, vectors, None, None)


class ToldGate(FakeGate):
    """A gate that counts, and keeps no check, which would be a commit of its own."""

    def check_candidates(self, candidates, *others, **named):
        verdict = super().check_candidates(candidates, *others, **named)
        (check,) = verdict.quality
        assert candidates.count() == check["observed"]
        return Verdict(failures=verdict.failures)


def make_spec(recipe, *, is_down=False):
    """Return what the job is given for a recipe."""
    name, _, precision = recipe.model.partition("-p")
    return ToldSpec(
        model_version=recipe.model,
        attributes=_LABELS.get(name, _LABELS["one"]),
        threshold=int(precision) / 100 - 0.4,
        encoder_version=recipe.encoder,
        limits_digest=recipe.limits,
        is_down=is_down,
    )


@cache
def answer(text: str, recipe: Recipe) -> dict[str, str | None]:
    """Return the classifier's labels."""
    spec = make_spec(recipe)
    (said,) = FakeEngine(spec).enrich([EngineProduct("p", text, None, None)])
    return {one.attribute: None if one.abstained else one.label for one in said.predictions}


def hash_of(content):
    """Return the content_hash of a content of the model."""
    if content.picture == Status.IMAGE_MISSING:
        return hash_content(content.text, None, content.picture)
    if content.picture.startswith("down "):
        path = content.picture.removeprefix("down ")
        return hash_content(content.text, None, Status.IMAGE_UNREADABLE, path)
    return hash_content(content.text, None, hashlib.sha256(content.picture.encode()).hexdigest())


_CONTENTS = {
    hash_of(content): content
    for text, picture, is_down in product(TEXTS, PICTURES, (False, True))
    for content in [memory_tables.look_at(Product("", text, picture), is_down)]
}


class Commits:
    """Counts the commits of a command, and ends its process at one of them."""

    def __init__(self, patch):
        self.begin()
        patch.setattr(Tables, "append", self._wrap(Tables.append, lambda _, table, *rest: table))
        patch.setattr(Tables, "merge", self._wrap(Tables.merge, lambda *_: "merge"))
        patch.setattr(publish, "_restore", self._wrap(publish._restore, lambda *_: "restore"))

    def begin(self, kill_after=None, *, is_before_next=False):
        """Forget what was done. `is_before_next`: the process lives until its next commit."""
        self.done: list[str] = []
        self._kill_after, self._is_before_next, self._is_dead = kill_after, is_before_next, False

    def _wrap(self, commit, name):
        def wrapped(*arguments, **named):
            is_last = len(self.done) == self._kill_after
            if self._is_dead or is_last:
                self._die()
            done = commit(*arguments, **named)
            self.done.append(name(*arguments))
            if len(self.done) == self._kill_after and not self._is_before_next:
                self._die()
            return done

        return wrapped

    def _die(self):
        self._is_dead = True
        raise Killed


class Beside:
    """Tables of a shop beside the model; has the model's commands."""

    def __init__(self, shop, commits, patch, seed):
        self.shop, self.commits, self.patch = shop, commits, patch
        self.draw = Draw(seed, time_passes=False)
        choose = self.draw.random.choice
        is_fresh = choose((True, False))
        self.model = Model(
            deletes=choose((True, False)), intent_timeout=timedelta(days=1 if is_fresh else -1)
        )
        patch.setattr(runs, "INTENT_TIMEOUT", timedelta(days=1 if is_fresh else 0))
        self._config = {
            "columns": {"category": "category"},
            "image_identity": "content",
            "missing_products": "delete" if self.model.deletes else "keep",
            "max_deleted_share": 1,
            "products_per_chunk": choose((2, 100_000)),
        }
        # Real run ids by those of the model.
        self.ids: dict[str, str] = {}
        self.model_run = self.draw.draw_products(is_first=True)

    def step(self, command):
        """Run a command on both, and compare the tables."""
        is_before_next = self.draw.random.random() < 0.5
        kill_after = command.arguments.get("kill_after")
        self.commits.begin(kill_after, is_before_next=is_before_next)
        arguments = {k: v for k, v in command.arguments.items() if k != "kill_after"}
        refused = self._try(lambda: getattr(self, command.name)(**arguments))
        done = list(self.commits.done)
        self.commits.begin()
        self.shop.spark.catalog.clearCache()
        chunks = {"chunks": self._chunk} if command.name == "refresh" else {}
        self.model.commits = []
        modelled = self._try(
            lambda: command._replace(arguments={**command.arguments, **chunks}).run(self.model)
        )
        assert refused == modelled
        assert done == self.model.commits
        self.compare()

    def _try(self, act):
        """Tell whether the act was refused."""
        try:
            act()
        except (ConfigError, TableContended, Refused):
            return True
        except (Killed, NothingPublished):
            pass
        return False

    # The model's commands.

    def refresh(self, request):
        spec = make_spec(request.recipe, is_down=request.store_is_down)
        inputs = self.shop.prepare(
            spec,
            self._config,
            run_date=request.run_date,
            trigger=request.trigger,
            full_refresh=request.full_refresh,
            limit=request.limit,
            publish=request.publishes,
        )
        store = ToldStore("/")
        store.is_down = request.store_is_down
        failures = {request.blocks: ("no",)}
        gate = ToldGate(failures.get("input", ()), failures.get("candidates", ()))
        run = Refresh(replace(inputs, store=store), gate)
        try:
            run.run()
        finally:
            if run.summary.run_id:
                self.ids[f"r{len(self.model.recipes):03}"] = run.summary.run_id

    def approve(self, name, model, reason):
        recipes = {one.model: one for one in RECIPES}
        spec = make_spec(recipes.get(model, Recipe(model)))
        self.shop.approve(self.ids.get(name, name), reason, spec)

    def discard(self, name):
        self.shop.discard(self.ids.get(name, name))

    def roll_back(self, run_id):
        self.shop.roll_back(self.ids[run_id])

    def correct(self, product_id, attribute, label):
        self.shop.correct(product_id, attribute, label)
        self.commits.begin()

    def withdraw(self, product_id):
        table = f"{self.shop.database}.attribute_corrections"
        self.shop.spark.sql(f"DELETE FROM {table} WHERE product_id = '{product_id}'")

    def write(self, products):
        columns = ["product_id", "title", "image_path", "category"]
        rows = pd.DataFrame(products, columns=columns).astype("string")
        self.shop.write(rows.assign(description=pd.Series(pd.NA, rows.index, "string")))

    def maintain(self, days_later):
        with self.patch.context() as patch:
            patch.setattr(maintenance, "now", lambda: now() + timedelta(days=days_later))
            self.shop.maintain()
        # Its DELETEs are of no interest here.
        self.commits.begin()

    def _chunk(self, asked):
        """Return the chunks that the run on Delta has written, and then all that is left."""
        run_id = self.ids[f"r{len(self.model.recipes) - 1:03}"]
        rows = self.shop.tables.read_run("encodings", run_id).orderBy("encoded_at").collect()
        left = list(asked)
        for _, chunk in groupby(rows, key=lambda row: row["encoded_at"]):
            contents = [_CONTENTS[row["content_hash"]] for row in chunk]
            for content in contents:
                left.remove(content)
            yield contents
        if left:
            yield left

    # What stands in the tables.

    def compare(self):
        """Compare all tables with the model."""
        found, expected = self._read(), self._expect()
        for table, rows in expected.items():
            assert found[table] == sorted(rows, key=repr), table

    def _read(self):
        database, names = self.shop.database, {real: run_id for run_id, real in self.ids.items()}
        columns = {
            "product_attributes": "*",
            "run_events": f"run_id, number, state, caused_by, {', '.join(_COUNTS)}",
            "candidates": "run_id, product_id, op, reason, replaces, content_hash, model_version",
            "encodings": "run_id, content_hash, encoder_version, limits, status",
            "quarantine": "run_id, product_id, reason, status",
        }
        union = " UNION ALL ".join(
            f"SELECT '{table}' AS t, to_json(struct({some})) AS row FROM {database}.{table}"
            for table, some in columns.items()
        )
        found: dict[str, list[tuple[Any, ...]]] = {table: [] for table in columns}
        for table, text in self.shop.spark.sql(union).collect():
            row = json.loads(text)
            for name in ("run_id", "replaces", "caused_by"):
                if row.get(name):
                    row[name] = names[row[name]]
            found[table].append(
                self._row(row) if table == "product_attributes" else _pick(row, columns[table])
            )
        return {table: sorted(rows, key=repr) for table, rows in found.items()}

    def _row(self, row):
        said = tuple((one["attribute"], one.get("label")) for one in row.get("corrections", ()))
        names = ("product_id", "run_id", "content_hash", "model_version", "status")
        labels = tuple(row.get(name) for name in ("color", "pattern", "sleeve"))
        return (*(row[name] for name in names), row.get("product_category"), said, *labels)

    def _expect(self):
        model, recipes = self.model, {one.model: one for one in RECIPES}
        published = []
        for product_id, row in model.published.items():
            said = answer(row.content.text, recipes[row.model]) | dict(row.corrections)
            labels = tuple(said.get(name) for name in ("color", "pattern", "sleeve"))
            key = (product_id, row.attempt.run_id, hash_of(row.content), row.model, row.status)
            published.append((*key, row.category, row.corrections, *labels))
        return {
            "product_attributes": published,
            "run_events": [
                (run.run_id, run.number, run.state, run.caused_by, *map(counts.get, _COUNTS))
                for events in model.events.values()
                for run, counts, _ in events
            ],
            "candidates": [
                (
                    *(run_id, one.product_id, one.op, one.reason, one.replaces),
                    *((hash_of(one.content), one.model) if one.op == "upsert" else (None, None)),
                )
                for run_id, candidates in model.candidates.items()
                for one in candidates
            ],
            "encodings": [
                (one.run_id, hash_of(one.content), one.encoder, one.limits, one.status)
                for one in model.encodings
            ],
            "quarantine": [
                (one.run_id, one.product_id, one.reason, one.status) for one in model.quarantine
            ],
        }


def _pick(row, columns):
    return tuple(row.get(name) for name in columns.split(", "))


@pytest.fixture
def commits(monkeypatch):
    # Neither changes what stands in a table, and both take seconds.
    monkeypatch.setattr(Tables, "create_views", lambda self: None)
    monkeypatch.setattr(maintenance, "_compact", lambda *_: None)
    return Commits(monkeypatch)


@pytest.fixture(params=range(SEQUENCES))
def beside(request, spark, tmp_path, commits, monkeypatch):
    database = f"random_{request.param}"
    shop = Shop(spark, tmp_path, database)
    shop.tables.create_missing()
    yield Beside(shop, commits, monkeypatch, request.param)
    spark.sql(f"DROP DATABASE {database} CASCADE")


def test_delta_tables_do_what_the_model_does(beside):
    log = [beside.draw.draw_products(is_first=True)]
    try:
        beside.step(log[0])
        for _ in range(COMMANDS):
            log.append(beside.draw.draw(beside.model))
            beside.step(log[-1])
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *map(str, log)])) from error


@pytest.mark.parametrize("beside", [0], indirect=True)
def test_pictures_that_stay_out_of_reach_make_no_night_a_publication(beside):
    beside.step(beside.draw.draw_products(is_first=True))
    for is_down in (True, True, False):
        beside.step(Command("refresh", {"request": Request(DAY, store_is_down=is_down)}))
    states = [beside.model.last(run.run_id).run.state for run in beside.model.runs]
    assert states == ["published", "nothing_to_do", "published"]
