"""Which runs give which of the paper's numbers: by what they record, never by their names."""

import dataclasses

from supervised_reptile.data import omniglot, provenance
from supervised_reptile.report.reading import Evaluation, Run, Score
from supervised_reptile.report.settings import (
    ADAPTING,
    CELLS,
    COMBINATIONS,
    DEFAULTS,
    OMNIGLOT_PIXELS,
    OVERLAPS,
    SETTINGS,
    TASKS,
    Setting,
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """An evaluation that stands for a setting, and its score on the test set.

    full: the setting's meta-iterations, which `done` may be short of.
    """

    run: Run
    evaluation: Evaluation
    score: Score
    full: int

    @property
    def done(self) -> int:
        """Meta-iterations that the evaluated model was trained for."""
        return (self.evaluation.iteration or 0) + 1

    @property
    def shortened(self) -> bool:
        """Whether it had fewer meta-iterations than the setting."""
        return self.done < self.full or self.run.total < self.full

    @property
    def complete(self) -> bool:
        """Whether it was also evaluated on as many tasks as in the paper."""
        return not self.shortened and self.evaluation.tasks >= TASKS

    @property
    def images(self) -> tuple[str, ...]:
        """Which images a model was trained and evaluated on, by the digests of their pixels."""
        if self.run.dataset == "omniglot":  # which other_data has compared
            return ()
        used = (self.run.data, self.evaluation.data or self.run.data)
        return tuple(str(data.get("digest")) for data in used)

    @property
    def mark(self) -> str:
        """What its score has to carry if its images came ready-made: mostly they are resized with
        other filters than the paper's (docs/data.md)."""
        used = (self.run.data, self.evaluation.data)
        packagings = [str((data.get("origin") or {}).get("packaging", "")) for data in used]
        ready_made = self.run.dataset == "miniimagenet" and any(
            packaging and not packaging.startswith(provenance.ORIGINAL) for packaging in packagings
        )
        return " (ready-made images)" if ready_made else ""


def other_data(run: Run, evaluation: Evaluation | None = None) -> str | None:
    """What images a run, or an evaluation of it, used instead of the paper's; None: those."""
    flags = evaluation.flags if evaluation else run.flags
    data = (evaluation.data if evaluation else None) or run.data
    if flags.get("synthetic", False):
        return "generated images"
    origin = data.get("origin")
    digest = origin.get("digest") if isinstance(origin, dict) else None
    if not data:
        return "images not recorded"
    if run.dataset == "omniglot":
        pixels = data.get("digest") or OMNIGLOT_PIXELS  # which older records lack
        known = (digest, pixels) == (omniglot.DIGEST, OMNIGLOT_PIXELS)
    else:
        known = digest is not None
    return None if known else "own images"


def trained_as(run: Run, setting: Setting) -> bool:
    """Whether a run was trained, or part of the way, as in a setting, on the paper's images.

    A run that is a whole one of another setting with the same flags is no part of this one.
    """
    settings = [setting] if run.total == setting.meta_iters else [setting, *SETTINGS]
    fitting = [one for one in settings if _flags_as(run, one)]
    return setting in fitting and all(
        one == setting or one.meta_iters != run.total for one in fitting
    )


def _flags_as(run: Run, setting: Setting) -> bool:
    wanted = {**DEFAULTS, **setting.flags}
    if setting.dataset != "omniglot":
        wanted.pop("train_classes")
    return (
        run.dataset == setting.dataset
        and run.total <= setting.meta_iters
        and all(run.flag(name) == value for name, value in wanted.items())
        and other_data(run) is None
    )


def _evaluated_as(run: Run, evaluation: Evaluation, setting: Setting) -> bool:
    wanted = {name: {**DEFAULTS, **setting.flags}[name] for name in ADAPTING}
    wanted |= {name: getattr(setting, name) for name in ("shots", "eval_batch", "eval_iters")}
    flags = {**DEFAULTS, "shots": 5, "eval_batch": 5, "eval_iters": 50, **evaluation.flags}
    return (
        evaluation.iteration is not None
        and all(flags[name] == value for name, value in wanted.items())
        and other_data(run, evaluation) is None
    )


def entries(runs: list[Run], setting: Setting, transductive: bool = False) -> list[Entry]:
    """The best evaluation of each run of a setting: that of its last checkpoint, with most tasks,
    the newest."""
    found = []
    for run in runs:
        candidates = [
            (evaluation.iteration, evaluation.tasks, evaluation.time, evaluation, column["test"])
            for evaluation in (run.evaluations if trained_as(run, setting) else ())
            if _evaluated_as(run, evaluation, setting)
            and (column := evaluation.column(transductive))
        ]
        if candidates:
            *_, evaluation, score = max(candidates, key=lambda candidate: candidate[:3])
            found.append(Entry(run, evaluation, score, setting.meta_iters))
    return found


def by_seed(found: list[Entry]) -> list[Entry]:
    """Of the entries that are not shortened, one per seed: with most tasks, then the newest."""
    best: dict[int, Entry] = {}
    for entry in found:
        rank = (entry.evaluation.tasks, entry.evaluation.time)
        known = best.get(entry.run.seed)
        if not entry.shortened and (
            known is None or rank > (known.evaluation.tasks, known.evaluation.time)
        ):
            best[entry.run.seed] = entry
    return [best[seed] for seed in sorted(best)]


def pools(found: list[Entry]) -> list[list[Entry]]:
    """The entries that are not shortened, one per seed, apart for each copy of the images.

    That with most complete entries comes first, then with most seeds.
    """
    copies = dict.fromkeys(entry.images for entry in found)
    apart = [by_seed([entry for entry in found if entry.images == one]) for one in copies]

    def rank(pool: list[Entry]) -> tuple[int, int]:
        return sum(entry.complete for entry in pool), len(pool)

    return sorted(filter(None, apart), key=rank, reverse=True)


def of_no_setting(runs: list[Run]) -> list[tuple[Run, Evaluation]]:
    """The evaluations that none of the paper's settings describes, with their runs."""
    columns = [(cell.setting, cell.transductive) for cell in CELLS]
    columns += [(one.setting, False) for one in COMBINATIONS]
    columns += [(one.setting, False) for one in OVERLAPS]

    def placed(run: Run, evaluation: Evaluation) -> bool:
        return any(
            evaluation.column(transductive) is not None
            and trained_as(run, setting)
            and _evaluated_as(run, evaluation, setting)
            for setting, transductive in columns
        )

    pairs = [(run, evaluation) for run in runs for evaluation in run.evaluations]
    return [pair for pair in pairs if not placed(*pair)]
