"""Which runs give which of the paper's numbers, by what they record and never by their names, and
how far these are from the paper's."""

import dataclasses
import hashlib
from collections.abc import Hashable, Sequence

from supervised_reptile.args import Config
from supervised_reptile.data import omniglot, provenance
from supervised_reptile.data.miniimagenet import CLASSES
from supervised_reptile.report.reading import Evaluation, Json, Run, Score
from supervised_reptile.settings import SETTINGS, Setting

# The digest of the decoded images of Omniglot, as run.json and results.jsonl record it.
OMNIGLOT_PIXELS = "12561f6a2c0a3e5feeb41bc08a36853704ee6c9d626e8b567ad78d255f388eaf"
TASKS = 10_000  # of an evaluation in the paper
DEFECT = 0.3  # points outside the replications' range: a complete 5-way run further out is suspect
CONFIGS = {name: Config.of(one.dataset, one.flags) for name, one in SETTINGS.items()}


@dataclasses.dataclass(frozen=True)
class Entry:
    """An evaluation that stands for a setting, and its score on the test set."""

    run: Run
    evaluation: Evaluation
    setting: Setting
    score: Score

    @property
    def full(self) -> int:
        """The setting's meta-iterations."""
        return CONFIGS[self.setting.name].outer.meta_iters

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
    def mark(self) -> str:
        """The note on a score whose images came ready-made: most of these are resized with another
        filter than the paper's (docs/data.md)."""
        used = (self.run.content.get("data"), self.evaluation.line.get("data"))
        origins = [(data or {}).get("origin", {}).get("packaging", "") for data in used]
        made = [name for name in origins if name and not name.startswith(provenance.ORIGINAL)]
        return " (ready-made images)" if self.setting.dataset == "miniimagenet" and made else ""


def other_images(run: Run, evaluation: Evaluation | None = None) -> str:
    """The images that a run, or an evaluation, used instead of the paper's; "" for the paper's."""
    config = evaluation.config if evaluation else run.config
    data = evaluation.line.get("data") if evaluation else run.content.get("data")
    if config.run.synthetic:
        return "generated images"
    if config.run.clean:
        return "cleaned images"
    if not data:
        return "images not recorded"
    origin = data.get("origin", {})
    if config.dataset == "omniglot":
        known = (origin.get("digest"), data.get("digest")) == (omniglot.DIGEST, OMNIGLOT_PIXELS)
    else:  # whose pixels differ from packaging to packaging
        same = digests(run.content["split"]) == digests(CLASSES)
        known = same and "digest" in origin and "images" not in origin
    return "" if known else "own images"


def digests(split: Json) -> Json:
    """Of each set: the number of its classes, and the SHA-256 of their names, one a line."""

    def digest(classes: list[str]) -> Json:
        names = "\n".join(classes).encode(errors="backslashreplace")
        return {"classes": len(classes), "sha256": hashlib.sha256(names).hexdigest()}

    # Those of a run that was collected are digests.
    return {name: one if isinstance(one, dict) else digest(one) for name, one in split.items()}


def settings_of(run: Run) -> list[Setting]:
    """The settings that a run was trained as. A run that is no whole one of any setting is a
    shortened one of all that share its flags."""
    if other_images(run):
        return []
    same = [name for name, config in CONFIGS.items() if _training(config) == _training(run.config)]
    whole = [name for name in same if CONFIGS[name].outer.meta_iters == run.total]
    return [SETTINGS[name] for name in whole or same if run.total <= CONFIGS[name].outer.meta_iters]


def _training(config: Config) -> Hashable:
    """The flags that decide what is learned, but for the seed and the meta-iterations."""
    outer = dataclasses.replace(config.outer, meta_iters=0)
    task = (config.task.classes, config.task.training_shots)
    return config.dataset, task, config.inner, outer, config.run.train_classes, config.run.rotations


def _adapting(config: Config) -> Hashable:
    """The flags that decide what an evaluation measures, but for the way queries are predicted."""
    inner, evaluation = config.inner, config.evaluation
    return (
        *(config.task.classes, config.task.shots, evaluation.eval_batch, evaluation.eval_iters),
        *(inner.learning_rate, inner.weight_decay, inner.sgd, inner.replacement),
    )


def place(runs: list[Run]) -> tuple[dict[str, list[Entry]], list[tuple[Run, Evaluation]]]:
    """The entries of each setting, by its name, and the evaluations that are of no setting.

    Of several evaluations of a run, that of its last checkpoint with most tasks counts, the newest.
    Those without the test set (--eval-sets) are left out, unless a run has no others.
    """
    placed: dict[str, list[Entry]] = {name: [] for name in SETTINGS}
    others = []
    for run in runs:
        settings, best = settings_of(run), {}
        tested = [one for one in run.evaluations if one.scores]
        for evaluation in sorted(tested or run.evaluations, key=_rank):
            found = [entry for one in settings for entry in _entries(run, evaluation, one)]
            best.update({entry.setting.name: entry for entry in found})
            if not found:
                others.append((run, evaluation))
        for name, entry in best.items():
            placed[name].append(entry)
    return placed, others


def _rank(evaluation: Evaluation) -> tuple[int, int, str]:
    iteration = -1 if evaluation.iteration is None else evaluation.iteration
    return iteration, evaluation.tasks, evaluation.line["time"]


def _entries(run: Run, evaluation: Evaluation, setting: Setting) -> list[Entry]:
    """The entry of an evaluation in a setting, if it is one.

    If its seed was assumed or is another, the model may have been trained on what it was tested on.
    """
    config, score, own = CONFIGS[setting.name], None, evaluation.config.run
    if (
        evaluation.iteration is not None
        and not evaluation.line.get("assumed")
        and (own.seed, own.train_classes) == (run.seed, run.config.run.train_classes)
        and _adapting(evaluation.config) == _adapting(config)
        and not other_images(run, evaluation)
    ):
        score = evaluation.scores.get(config.evaluation.transductive)
    return [Entry(run, evaluation, setting, score)] if score else []


def by_seed(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that are not shortened, one for each seed: with most tasks, then the newest."""
    ordered = sorted(entries, key=lambda entry: _rank(entry.evaluation)[1:])
    best = {entry.run.seed: entry for entry in ordered if not entry.shortened}
    return [best[seed] for seed in sorted(best)]


def pools(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The seeds that a mean is taken of, those with ready-made images apart: the complete ones, or
    all that are not shortened if there are none."""
    marks = sorted({entry.mark for entry in entries})
    seeds = [by_seed([entry for entry in entries if entry.mark == mark]) for mark in marks]
    return [[one for one in some if one.complete] or some for some in seeds if some]


def mean_of(scores: Sequence[Score]) -> Score:
    """The mean of independent scores, and its interval as far as it comes from drawing tasks."""
    count = len(scores)
    known = [score.interval for score in scores if score.interval is not None]
    interval = sum(i**2 for i in known) ** 0.5 / count if len(known) == count else None
    return Score(sum(score.percent for score in scores) / count, interval)


def judge(setting: Setting, scores: Sequence[Score], alike: bool) -> str:
    """The verdict on the mean of the scores of several seeds, to the digits that are shown.

    alike: whether they have the paper's meta-iterations, number of tasks and images. If so, a
    single one that is far outside is enough to suspect a defect.
    """
    score, paper = mean_of(scores), setting.paper
    worst = max(setting.outside(one.percent) for one in scores)
    if alike and CONFIGS[setting.name].task.classes == 5 and worst > DEFECT:
        upto = "" if len(scores) == 1 else "up to "
        return f"**OUTSIDE the replications' range by {upto}{worst:.2f} points: look for a defect**"
    if not (outside := setting.outside(score.percent)):
        return "inside the replications' range"
    percent, interval = round(score.percent, 2), round(score.interval or 0, 2)
    if round(abs(percent - paper[0]), 2) <= round(paper[1] + interval, 2):
        return "inside the paper's interval widened by ours"
    return f"outside the replications' range by {outside:.2f} points"
