"""The paper's commands by name, as flags, and the numbers that the paper reports for them.

Tables 1 and 2 have the settings of appendix A. Those of section 6.2 are the authors' commands. For
section 6.3 they published none: its settings are our choice. Nothing here takes time to import.
"""

import dataclasses
import itertools
from typing import Any

Flags = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A command of the paper.

    part: of the paper, "table1", "table2", "figure_gradients" (section 6.2) or "figure_overlap"
    (section 6.3). label: its name in tables and figures. flags: those that the command gives, by
    name. paper: test accuracy and its ±, in percent. replications: least and most of three or four
    complete runs by others, all but one with the authors' networks, in percent.
    """

    name: str
    part: str
    label: str
    dataset: str
    flags: Flags
    paper: tuple[float, float] = (0, 0)
    replications: tuple[float, float] = (0, 0)

    def outside(self, percent: float) -> float:
        """Points outside the replications' range, to the digits that are shown."""
        low, high = self.replications
        return round(max(low - round(percent, 2), round(percent, 2) - high, 0), 2)


FIVE: Flags = {"meta_step": 1.0, "meta_step_final": 0.0, "meta_batch": 5, "meta_iters": 100_000}
FIVE |= {"learning_rate": 0.001, "inner_batch": 10, "inner_iters": 5, "train_shots": 10}
FIVE |= {"eval_batch": 5, "eval_iters": 50}
TWENTY: Flags = {**FIVE, "classes": 20, "meta_iters": 200_000, "learning_rate": 0.0005}
TWENTY |= {"inner_batch": 20, "inner_iters": 10, "eval_batch": 10}
MINI: Flags = {**FIVE, "inner_iters": 8, "train_shots": 15}


def _cell(name: str, flags: Flags, *numbers: tuple[float, float]) -> Setting:
    """name: the dataset's letter, shots, ways, and t if queries are predicted together."""
    flags, label = {"shots": int(name[1]), **flags}, f"{name[1]}-shot {name[2:].rstrip('t')}-way"
    if name.endswith("t"):
        flags, label = {**flags, "transductive": True}, f"{label}, transductive"
    if name.startswith("m"):
        return Setting(name, "table1", f"miniImageNet {label}", "miniimagenet", flags, *numbers)
    return Setting(name, "table2", f"Omniglot {label}", "omniglot", flags, *numbers)


TABLES = (
    _cell("o15", FIVE, (95.39, 0.09), (95.20, 95.56)),
    _cell("o15t", FIVE, (97.68, 0.04), (97.61, 97.79)),
    _cell("o55", FIVE, (98.90, 0.10), (98.89, 99.15)),
    _cell("o55t", FIVE, (99.48, 0.06), (99.49, 99.53)),
    _cell("o120", TWENTY, (88.14, 0.15), (87.93, 88.12)),
    _cell("o120t", TWENTY, (89.43, 0.14), (89.13, 89.73)),
    _cell("o520", TWENTY, (96.65, 0.33), (96.47, 96.57)),
    _cell("o520t", TWENTY, (97.12, 0.32), (96.99, 97.55)),
    _cell("m15", MINI, (47.07, 0.26), (46.27, 47.15)),
    _cell("m15t", MINI, (49.97, 0.32), (49.23, 50.38)),
    _cell("m55", {**MINI, "eval_batch": 15}, (62.74, 0.37), (62.85, 63.65)),
    _cell("m55t", {**MINI, "eval_batch": 15}, (65.99, 0.58), (65.80, 66.19)),
)

SGD: Flags = {"sgd": True, "seed": 0, "inner_batch": 25, "learning_rate": 0.003}
SGD |= {"meta_step_final": 0.0, "eval_batch": 25, "eval_iters": 5}


def _curve(name: str, label: str, steps: int, meta_step: float, **foml: bool) -> Setting:
    flags = {**SGD, "meta_iters": 40_000, "eval_interval": 1, "inner_iters": steps, **foml}
    flags |= {"train_shots": 5 * steps, "meta_step": meta_step}
    return Setting(name, "figure_gradients", label, "omniglot", flags)


GRADIENTS = (
    _curve("g1", "g1", 1, 0.25),
    _curve("g1_g2", "g1+g2", 2, 0.25),
    _curve("half_g1_g2", "½(g1+g2)", 2, 0.125),
    _curve("g2", "g2", 2, 0.25, foml=True),
    _curve("g1_g2_g3", "g1+g2+g3", 3, 0.25),
    _curve("third_g1_g2_g3", "⅓(g1+g2+g3)", 3, 0.08325),
    _curve("g3", "g3", 3, 0.25, foml=True),
    _curve("g1_g2_g3_g4", "g1+g2+g3+g4", 4, 0.25),
    _curve("fourth_g1_g2_g3_g4", "¼(g1+g2+g3+g4)", 4, 0.0625),
    _curve("g4", "g4", 4, 0.25, foml=True),
)

METHODS = {"reptile": "Reptile", "shared_tail": "first-order MAML, shared tail"}
METHODS["separate_tail"] = "first-order MAML, separate tail"
VARIED = [(2, 25), (3, 25), (4, 10), (4, 20), (4, 25), (4, 30), (4, 40), (5, 25), (6, 25), (7, 25)]


def _point(method: str, order: str, steps: int, batch: int) -> Setting:
    """A task has 100 images, four batches of 25: more steps or larger batches overlap."""
    flags = {**SGD, "meta_iters": 10_000, "eval_interval": 10_000, "eval_samples": 2000}
    flags |= {"train_shots": 20, "meta_step": 0.25, "inner_iters": steps, "inner_batch": batch}
    flags |= {} if method == "reptile" else {"foml": True}
    flags |= {"foml_tail": batch // 5} if method == "separate_tail" else {}
    flags |= {"replacement": True} if order == "replacement" else {}
    label, name = f"{METHODS[method]}, {order}", f"{method}_{order}_{steps}x{batch}"
    return Setting(name, "figure_overlap", label, "omniglot", flags)


OVERLAPS = tuple(
    _point(method, order, *varied)
    for method, order, varied in itertools.product(METHODS, ("cycling", "replacement"), VARIED)
)
PRESETS = {setting.name: setting for setting in (*TABLES, *GRADIENTS)}  # of --preset
SETTINGS = {setting.name: setting for setting in (*TABLES, *GRADIENTS, *OVERLAPS)}
