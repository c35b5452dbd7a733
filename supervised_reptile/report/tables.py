"""The tables of the report, in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from supervised_reptile.report import verdict
from supervised_reptile.report.matching import Entry, entries, of_no_setting, other_data, pools
from supervised_reptile.report.reading import Evaluation, Run, Score
from supervised_reptile.report.settings import CELLS, COMBINATIONS, OVERLAPS, TASKS, Cell
from supervised_reptile.system.output import escaped

Machine = dict[str, Any]
UNKNOWN = "not recorded"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty text if it has no rows."""
    rows = list(rows)
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return escaped(text).replace("|", "\\|")


def score_text(score: Score) -> str:
    """Percent with the interval."""
    return f"{score.percent:.2f}" + ("" if score.interval is None else f" ± {score.interval:.2f}")


def range_text(ends: tuple[float, float]) -> str:
    """The least and the most."""
    return f"{ends[0]:.2f} – {ends[1]:.2f}"


def paper_text(cell: Cell) -> str:
    """The paper's accuracy with its interval."""
    return f"{cell.paper[0]:.2f} ± {cell.paper[1]:.2f}"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return UNKNOWN
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def wall_clock(entry: Entry) -> str:
    """What training and evaluation took.

    What the training of an earlier checkpoint took is not known, and left out.
    """
    evaluation = f"evaluation {duration(entry.evaluation.seconds)}"
    if entry.done != entry.run.total:
        return evaluation
    seconds = entry.evaluation.training_seconds
    return f"training {duration(entry.run.seconds if seconds is None else seconds)}, {evaluation}"


def hardware_text(trained: Machine, evaluated: Machine) -> str:
    """Where a run was trained, and where it was evaluated if that was elsewhere."""
    first, second = map(_machine, (trained, evaluated))
    if first == second:
        return first or UNKNOWN
    first = first or f"training machine {UNKNOWN}"
    return f"{first}, " + (f"evaluated on {second}" if second else f"evaluation machine {UNKNOWN}")


def _machine(machine: Machine) -> str:
    if not machine:
        return ""
    cores, device = machine.get("cores"), machine.get("device", "CPU")
    text = f"{machine.get('cpu', 'unknown processor')}, {cores} core{'' if cores == 1 else 's'}"
    if device != "CPU":
        count = machine.get("gpus", 1)
        text = f"{machine.get('gpu', device)}{f' x {count}' if count != 1 else ''}, {text}"
    processes = machine.get("processes", 1)
    return text if processes == 1 else f"{processes} processes on {text} each"


def commit_text(trained: str | None, evaluated: str | None) -> str:
    """With which commit a run was trained, and evaluated if that was another."""
    if trained == evaluated:
        return _abbreviated(trained) if trained else UNKNOWN
    parts = (("training", "trained", trained), ("evaluation", "evaluated", evaluated))
    return ", ".join(
        f"{done} at {_abbreviated(commit)}" if commit else f"{work} {UNKNOWN}"
        for work, done, commit in parts
    )


def _abbreviated(commit: str) -> str:
    commit, _, changed = commit.partition("-")
    return commit[:7] + (f"-{changed}" if changed else "")


def _iterations(entry: Entry) -> str:
    done = f"{entry.done:,}"
    if entry.run.total != entry.done:
        done += f" (of a run of {entry.run.total:,})"
    return f"**shortened:** {done} of {entry.full:,}" if entry.shortened else done


def _tail(entry: Entry) -> list[str]:
    run, evaluation = entry.run, entry.evaluation
    return [
        _iterations(entry),
        f"{evaluation.tasks:,}",
        str(run.seed),
        wall_clock(entry),
        hardware_text(run.machine, evaluation.machine),
        commit_text(run.commit, evaluation.commit),
        run.name,
    ]


TAIL = ["meta-iterations", "tasks", "seed", "wall-clock", "hardware", "commit", "run"]


def paper_table(runs: list[Run]) -> str:
    """Tables 1 and 2: each cell, and each run that is in it."""
    header = ["setting", "id", "paper", "replications", "this program", "verdict", *TAIL]
    rows = []
    for cell in CELLS:
        head = [cell.title, cell.id, paper_text(cell), range_text(cell.replications)]
        for body in _bodies(cell, runs):
            rows.append([*head, *body])
            head = ["", cell.id, "", ""]
    return table(header, rows)


def _bodies(cell: Cell, runs: list[Run]) -> list[list[str]]:
    """The rest of a cell's rows, of which it has one at least."""
    found = entries(runs, cell.setting, cell.transductive)
    rows = []
    for seeds in pools(found):
        rows += [[*_judged(cell, [entry]), *_tail(entry)] for entry in seeds]
        if len(_counted(seeds)) > 1:
            note = ["mean and range of the seeds", "", *[""] * (len(TAIL) - 2)]
            rows.append([*_judged(cell, seeds), *note])
    for entry in found:
        if entry.shortened:
            score = f"{score_text(entry.score)} (shortened){entry.mark}"
            rows.append([score, "none: shortened", *_tail(entry)])
    return rows or [[""] * (2 + len(TAIL))]


def _judged(cell: Cell, seeds: list[Entry]) -> list[str]:
    """The score of the runs of several seeds that count, and the verdict on it."""
    counted = _counted(seeds)
    scores = [entry.score for entry in counted]
    text, percents = score_text(verdict.mean_of(scores)), [score.percent for score in scores]
    if len(counted) > 1:
        text += f" ({len(counted)} seeds: {range_text((min(percents), max(percents)))})"
    text += seeds[0].mark
    if len({entry.evaluation.tasks for entry in seeds}) > 1:
        text += f" ({', '.join(_tasks(entry, entry in counted) for entry in seeds)})"
    return [text, verdict.judge(cell, scores, all(entry.complete for entry in counted))]


def _counted(seeds: list[Entry]) -> list[Entry]:
    """The complete runs; all, if there are none."""
    return [entry for entry in seeds if entry.complete] or seeds


def _tasks(entry: Entry, counts: bool) -> str:
    left_out = "" if counts else ", left out"
    return f"seed {entry.run.seed}: {entry.evaluation.tasks:,} tasks{left_out}"


def short_table(runs: list[Run]) -> str:
    """Tables 1 and 2 for the README: one row for each cell, and for each copy of its images."""
    header = ["setting", "paper", "replications", "this program", "verdict"]
    return table(header, [row for cell in CELLS for row in _short_rows(cell, runs)])


def _short_rows(cell: Cell, runs: list[Run]) -> list[list[str]]:
    head = [cell.title, paper_text(cell), range_text(cell.replications)]
    found = entries(runs, cell.setting, cell.transductive)
    rows = [[*head, *_short(cell, seeds)] for seeds in pools(found)]
    for row in rows[1:]:
        row[0] += ", another copy of the images"
    if rows:
        return rows
    if found:
        longest = max(found, key=lambda entry: entry.done)
        text = f"{score_text(longest.score)} ({_iterations(longest)}){longest.mark}"
        return [[*head, text, "none: shortened"]]
    return [[*head, "", ""]]


def _short(cell: Cell, seeds: list[Entry]) -> list[str]:
    text, judged = _judged(cell, seeds)
    tasks = {entry.evaluation.tasks for entry in seeds}
    if len(tasks) == 1 and tasks != {TASKS}:
        text += f" ({tasks.pop():,} tasks)"
    return [f"**{text}**", judged]


def combinations_table(runs: list[Run]) -> str:
    """Section 6.2: final accuracy of each curve; those without a run are empty."""
    rows = []
    for combination in COMBINATIONS:
        found = entries(runs, combination.setting)
        for entry in sorted(found, key=lambda entry: entry.shortened):
            mark = " (shortened)" if entry.shortened else ""
            rows.append([combination.label, score_text(entry.score) + mark, *_tail(entry)])
        if not found:
            rows.append([combination.label, *[""] * (1 + len(TAIL))])
    return table(["curve", "test accuracy", *TAIL], rows)


def overlap_table(runs: list[Run]) -> str:
    """Section 6.3: final accuracy of each point that there is a run of."""
    header = ["line", "inner steps", "inner batch", "test accuracy", *TAIL]
    rows = []
    for point in OVERLAPS:
        for entry in entries(runs, point.setting):
            mark = " (shortened)" if entry.shortened else ""
            numbers = [point.line, str(point.inner_iters), str(point.inner_batch)]
            rows.append([*numbers, score_text(entry.score) + mark, *_tail(entry)])
    return table(header, rows)


def others_table(runs: list[Run]) -> str:
    """Evaluations that are none of the paper's."""
    header = ["run", "images", "shots, ways", "test accuracy", "transductive", "meta-iterations"]
    return table([*header, "tasks", "seed"], [_other(*pair) for pair in of_no_setting(runs)])


def _other(run: Run, evaluation: Evaluation) -> list[str]:
    columns = [evaluation.column(transductive) for transductive in (False, True)]
    scores = [score_text(column["test"]) if column else "" for column in columns]
    done = 0 if evaluation.iteration is None else evaluation.iteration + 1
    return [
        run.name,
        other_data(run, evaluation) or "the paper's",
        f"{evaluation.flags.get('shots', 5)}-shot {evaluation.flags.get('classes', 5)}-way",
        *scores,
        f"{done:,} of {run.total:,}",
        f"{evaluation.tasks:,}",
        str(run.seed),
    ]


def unfinished_table(runs: list[Run]) -> str:
    """How far the runs are that are not finished."""
    rows = [
        [run.name, f"{run.done:,}", f"{run.total:,}", duration(run.seconds), str(run.seed)]
        for run in runs
        if not run.finished
    ]
    return table(["run", "meta-iterations, at least", "of", "training so far", "seed"], rows)
