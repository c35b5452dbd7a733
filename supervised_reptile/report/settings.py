"""The paper's settings and numbers, by which runs are recognized and judged. Nothing is computed.

Accuracies are in percent, intervals in points. Tables 1 and 2 with appendix A; section 6.2; section
6.3, whose settings are our choice.
"""

import dataclasses
from typing import Any

Flags = dict[str, Any]

# The digest of the decoded images of Omniglot, as run.json and results.jsonl record it.
OMNIGLOT_PIXELS = "12561f6a2c0a3e5feeb41bc08a36853704ee6c9d626e8b567ad78d255f388eaf"
TASKS = 10_000  # of an evaluation in the paper

# The flags that decide what is learned, but for the seed and the number of meta-iterations, as they
# are when not given.
DEFAULTS: Flags = {
    **{"classes": 5, "train_shots": 0, "inner_batch": 5, "inner_iters": 20, "replacement": False},
    **{"learning_rate": 0.001, "weight_decay": 1.0, "sgd": False, "meta_step": 0.1},
    **{"meta_step_final": 0.1, "meta_batch": 1, "foml": False, "foml_tail": None},
    **{"parallel_tasks": False, "train_classes": 1200},
}
# Those of them that an evaluation depends on, too.
ADAPTING = ("classes", "learning_rate", "weight_decay", "sgd", "replacement")


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a model is trained and tested. flags: those of training that are not DEFAULTS."""

    dataset: str
    flags: Flags
    meta_iters: int
    shots: int
    eval_batch: int
    eval_iters: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of table 1 or 2. paper: accuracy and 95 % interval. replications: least and most of
    three or four complete runs that others made with the authors' program."""

    id: str
    setting: Setting
    paper: tuple[float, float]
    replications: tuple[float, float]

    @property
    def transductive(self) -> bool:
        """Whether the queries of a task are predicted together."""
        return self.id.endswith("t")

    @property
    def title(self) -> str:
        """The setting in words."""
        name = {"omniglot": "Omniglot", "miniimagenet": "miniImageNet"}[self.setting.dataset]
        ways = self.setting.flags.get("classes", DEFAULTS["classes"])
        transductive = ", transductive" if self.transductive else ""
        return f"{name} {self.setting.shots}-shot {ways}-way{transductive}"

    @property
    def ways(self) -> int:
        """Classes of a task."""
        return int(self.setting.flags.get("classes") or DEFAULTS["classes"])


ADAM = {"meta_step": 1, "meta_step_final": 0, "meta_batch": 5}
FIVE = {**ADAM, "learning_rate": 0.001, "inner_batch": 10, "inner_iters": 5, "train_shots": 10}
TWENTY = {**ADAM, "classes": 20, "learning_rate": 0.0005, "inner_batch": 20, "inner_iters": 10}
TWENTY |= {"train_shots": 10}
MINI = {**ADAM, "learning_rate": 0.001, "inner_batch": 10, "inner_iters": 8, "train_shots": 15}
O15 = Setting("omniglot", FIVE, 100_000, shots=1, eval_batch=5, eval_iters=50)
O55 = dataclasses.replace(O15, shots=5)
O120 = Setting("omniglot", TWENTY, 200_000, shots=1, eval_batch=10, eval_iters=50)
O520 = dataclasses.replace(O120, shots=5)
M15 = Setting("miniimagenet", MINI, 100_000, shots=1, eval_batch=5, eval_iters=50)
M55 = dataclasses.replace(M15, shots=5, eval_batch=15)

CELLS = (
    Cell("o15", O15, (95.39, 0.09), (95.20, 95.56)),
    Cell("o15t", O15, (97.68, 0.04), (97.61, 97.79)),
    Cell("o55", O55, (98.90, 0.10), (98.89, 99.15)),
    Cell("o55t", O55, (99.48, 0.06), (99.49, 99.53)),
    Cell("o120", O120, (88.14, 0.15), (87.93, 88.12)),
    Cell("o120t", O120, (89.43, 0.14), (89.13, 89.73)),
    Cell("o520", O520, (96.65, 0.33), (96.47, 96.57)),
    Cell("o520t", O520, (97.12, 0.32), (96.99, 97.55)),
    Cell("m15", M15, (47.07, 0.26), (46.27, 47.15)),
    Cell("m15t", M15, (49.97, 0.32), (49.23, 50.38)),
    Cell("m55", M55, (62.74, 0.37), (62.85, 63.65)),
    Cell("m55t", M55, (65.99, 0.58), (65.80, 66.19)),
)


@dataclasses.dataclass(frozen=True)
class Combination:
    """A curve of section 6.2: the name of its run and how the paper writes it."""

    name: str
    label: str
    setting: Setting


SGD = {"sgd": True, "inner_batch": 25, "learning_rate": 0.003, "meta_step_final": 0}


def _combination(name: str, label: str, steps: int, meta_step: float, foml: bool) -> Combination:
    flags = {**SGD, "inner_iters": steps, "train_shots": 5 * steps, "meta_step": meta_step}
    setting = Setting("omniglot", {**flags, "foml": foml}, 40_000, 5, 25, 5)
    return Combination(name, label, setting)


COMBINATIONS = (
    _combination("g1", "g1", 1, 0.25, False),
    _combination("g1_g2", "g1+g2", 2, 0.25, False),
    _combination("half_g1_g2", "½(g1+g2)", 2, 0.125, False),
    _combination("g2", "g2", 2, 0.25, True),
    _combination("g1_g2_g3", "g1+g2+g3", 3, 0.25, False),
    _combination("third_g1_g2_g3", "⅓(g1+g2+g3)", 3, 0.08325, False),
    _combination("g3", "g3", 3, 0.25, True),
    _combination("g1_g2_g3_g4", "g1+g2+g3+g4", 4, 0.25, False),
    _combination("fourth_g1_g2_g3_g4", "¼(g1+g2+g3+g4)", 4, 0.0625, False),
    _combination("g4", "g4", 4, 0.25, True),
)


@dataclasses.dataclass(frozen=True)
class Overlap:
    """A point of section 6.3: which line it is on, inner steps, images of an inner batch."""

    line: str
    inner_iters: int
    inner_batch: int
    setting: Setting


METHODS = ("Reptile", "first-order MAML, shared tail", "first-order MAML, separate tail")


def _overlap(method: str, replacement: bool, steps: int, batch: int) -> Overlap:
    flags: dict[str, Any] = {**SGD, "replacement": replacement, "train_shots": 20}
    flags["meta_step"] = 0.25
    flags |= {"inner_iters": steps, "inner_batch": batch, "foml": method != METHODS[0]}
    flags |= {"foml_tail": batch // 5 if method == METHODS[2] else None}
    line = f"{method}, {'replacement' if replacement else 'cycling'}"
    return Overlap(line, steps, batch, Setting("omniglot", flags, 10_000, 5, 25, 5))


STEPS = [(steps, 25) for steps in (2, 3, 4, 5, 6, 7)]
BATCHES = [(4, batch) for batch in (10, 20, 25, 30, 40)]
OVERLAPS = tuple(
    _overlap(method, replacement, steps, batch)
    for method in METHODS
    for replacement in (False, True)
    for steps, batch in sorted({*STEPS, *BATCHES})
)

SETTINGS = [
    *(cell.setting for cell in CELLS),
    *(combination.setting for combination in COMBINATIONS),
    *(overlap.setting for overlap in OVERLAPS),
]
