"""Commands that people and nights give in any order, drawn by a seed."""

from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from memory_tables import MemoryTables, Product, Recipe, Request

from schemas.tables import State

ONE = Recipe()
RECIPES = (
    ONE,
    ONE._replace(model="one-p95"),
    # Fitted to a shop's labels, with an attribute more.
    ONE._replace(model="two-p90", attributes=("color", "pattern", "sleeve")),
    ONE._replace(model="three-p90", encoder="b"),
    ONE._replace(limits="small"),
)
LABELS = (("color", "red"), ("color", "blue"), ("color", None), ("sleeve", "long"))
TEXTS = ("shirt", "dress", "red hat", "bag", "boots", "", "crash")
PICTURES = (None, None, "a", "b", "large")
DAY = date(2026, 11, 1)
_IDS = 7


class Command(NamedTuple):
    """A method of the model, and of the shop beside it, with its arguments."""

    name: str
    arguments: dict[str, Any]

    def run(self, target: Any) -> Any:
        """Run the command on a model or a shop."""
        return getattr(target, self.name)(**self.arguments)


class Draw:
    """Draws commands; without `time_passes` nothing that takes days."""

    def __init__(self, seed: int, *, time_passes: bool = True) -> None:
        self.random = Random(seed)
        self._time_passes = time_passes
        self._day, self._recipe = DAY, ONE
        self._request = Request(DAY)

    def draw_products(
        self, *, is_first: bool = False, model: MemoryTables | None = None
    ) -> Command:
        """Products come, go, change, and come back as they were."""
        listed = {} if model is None else {one.product_id: one for one in model.products}
        ids = [f"p{number}" for number in range(_IDS)]
        for product_id in ids if is_first else self.random.sample(ids, self.random.randint(1, 3)):
            if self._is(0.3):
                listed.pop(product_id, None)
            else:
                listed[product_id] = self._draw_product(product_id)
        rows = list(listed.values()) if self._is(0.97) else []
        if self._is(0.15):
            rows.append(self._draw_product(self.random.choice([None, *ids])))
        return Command("write", {"products": rows})

    def draw(self, model: MemoryTables) -> Command:
        """Return what somebody may do next."""
        weights = {
            self._draw_refresh: 10,
            self._draw_killed: 5,
            self._draw_repeat: 3,
            self._draw_approval: 4,
            self._draw_discard: 1,
            self._draw_rollback: 3,
            self._draw_correction: 3,
            self._draw_change: 6,
            self._draw_wait: 1 if self._time_passes else 0,
            self._draw_maintenance: 1,
        }
        chosen = self.random.choices(list(weights), list(weights.values()))[0]
        return chosen(model)

    def _draw_refresh(self, model: MemoryTables) -> Command:
        if self._is(0.3):
            self._day += timedelta(days=1)
        if self._is(0.25):
            self._recipe = self.random.choice(RECIPES)
        self._request = Request(
            self._day - timedelta(days=self.random.choice((0, 0, 0, 0, 0, 1, 3))),
            self._recipe,
            trigger=self.random.choice((None, None, "t1", "t2")),
            full_refresh=self._is(0.12),
            limit=self.random.randint(1, 5) if self._is(0.1) else None,
            publishes=self._is(0.88),
            blocks=self.random.choice(("", "", "", "", "", "", "", "candidates", "input")),
            store_is_down=self._is(0.1),
        )
        return Command("refresh", {"request": self._request})

    def _draw_killed(self, model: MemoryTables) -> Command:
        command = self._draw_refresh(model)
        return Command("refresh", {**command.arguments, "kill_after": self.random.randint(1, 8)})

    def _draw_repeat(self, model: MemoryTables) -> Command:
        self._request = self._request._replace(publishes=True, blocks="", store_is_down=False)
        return Command("refresh", {"request": self._request})

    def _draw_approval(self, model: MemoryTables) -> Command:
        run_id = self._choose_run(model, *_WAITING, *_WAITING, State.ROLLED_BACK, State.RELEASED)
        if run_id is None:
            return self._draw_refresh(model)
        model_version = model.recipes[run_id].model if self._is(0.95) else "other-p90"
        trigger = model.last(run_id).run.trigger
        return self._perhaps_killed(
            "approve",
            name=trigger if trigger and self._is(0.3) else run_id,
            model=model_version,
            reason="because" if self._is(0.9) else None,
        )

    def _draw_discard(self, model: MemoryTables) -> Command:
        run_id = self._choose_run(model, *_WAITING)
        return self._perhaps_killed("discard", name=run_id) if run_id else self._draw_change(model)

    def _draw_rollback(self, model: MemoryTables) -> Command:
        run_id = self._choose_run(model, State.PUBLISHED)
        return (
            self._perhaps_killed("roll_back", run_id=run_id)
            if run_id
            else self._draw_refresh(model)
        )

    def _draw_correction(self, model: MemoryTables) -> Command:
        product_id = f"p{self.random.randrange(_IDS)}"
        if self._is(0.3):
            return Command("withdraw", {"product_id": product_id})
        attribute, label = self.random.choice(LABELS)
        said = {"product_id": product_id, "attribute": attribute, "label": label}
        return Command("correct", said)

    def _draw_change(self, model: MemoryTables) -> Command:
        return self.draw_products(model=model)

    def _draw_wait(self, model: MemoryTables) -> Command:
        return Command("wait", {"days": self.random.choice((0.1, 1, 8, 100))})

    def _draw_maintenance(self, model: MemoryTables) -> Command:
        return Command("maintain", {"days_later": self.random.choice((0, 8, 40))})

    def _draw_product(self, product_id: str | None) -> Product:
        choose = self.random.choice
        category = choose((None, "men", "women"))
        return Product(product_id, choose(TEXTS), choose(PICTURES), category)

    def _choose_run(self, model: MemoryTables, *states: State) -> str | None:
        """Return a run, mostly of one of the states."""
        wanted = [run.run_id for run in model.runs if run.state in states]
        if self._is(0.1) or not wanted:
            wanted = [run.run_id for run in model.runs]
        return self.random.choice(wanted) if wanted else None

    def _perhaps_killed(self, command: str, **arguments: Any) -> Command:
        if self._is(0.15):
            arguments["kill_after"] = self.random.randint(1, 3)
        return Command(command, arguments)

    def _is(self, chance: float) -> bool:
        return self.random.random() < chance


_WAITING = (State.STAGED, State.BLOCKED, State.APPROVED)
