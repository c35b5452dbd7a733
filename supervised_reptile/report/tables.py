"""The tables of the report, in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from supervised_reptile.report import verdict
from supervised_reptile.report.matching import Entry, by_seed, entries, of_no_setting, other_data
from supervised_reptile.report.reading import Evaluation, Run, Score
from supervised_reptile.report.settings import CELLS, COMBINATIONS, OVERLAPS, TASKS, Cell

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
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return printable.replace("|", "\\|")


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


def wall_clock(run: Run, evaluation: Evaluation) -> str:
    """What training and an evaluation took."""
    return f"training {duration(run.seconds)}, evaluation {duration(evaluation.seconds)}"


def hardware_text(trained: Machine, evaluated: Machine) -> str:
    """Where a run was trained, and where it was evaluated if that was elsewhere."""
    places = dict.fromkeys(map(_machine, (trained, evaluated)))
    return ", evaluated on ".join(filter(None, places)) or UNKNOWN


def _machine(machine: Machine) -> str:
    if not machine:
        return ""
    cores, device = machine.get("cores"), machine.get("device", "CPU")
    text = f"{machine.get('cpu', 'unknown processor')}, {cores} core{'' if cores == 1 else 's'}"
    return text if device == "CPU" else f"{device}, {text}"


def _commit(evaluation: Evaluation) -> str:
    if not evaluation.commit:
        return UNKNOWN
    commit, _, changed = evaluation.commit.partition("-")
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
        wall_clock(run, evaluation),
        hardware_text(run.machine, evaluation.machine),
        _commit(evaluation),
        run.name,
    ]


TAIL = ["meta-iterations", "tasks", "seed", "wall-clock", "hardware", "commit", "run"]


def paper_table(runs: list[Run]) -> str:
    """Tables 1 and 2: each cell, and each run that is in it."""
    header = ["setting", "id", "paper", "four replications", "this program", "verdict", *TAIL]
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
    seeds = by_seed(found)
    rows = [[*_judged(cell, [entry]), *_tail(entry)] for entry in seeds]
    if len(seeds) > 1:
        note = ["mean and range of the seeds", "", *[""] * (len(TAIL) - 2)]
        rows.append([*_judged(cell, seeds), *note])
    for entry in found:
        if entry.shortened:
            score = f"{score_text(entry.score)} (shortened)"
            rows.append([score, "none: shortened", *_tail(entry)])
    return rows or [[""] * (2 + len(TAIL))]


def _judged(cell: Cell, seeds: list[Entry]) -> list[str]:
    """The score of complete runs of several seeds, and the verdict on it."""
    score = verdict.mean_of([entry.score for entry in seeds])
    text, percents = score_text(score), [entry.score.percent for entry in seeds]
    if len(seeds) > 1:
        text += f" ({len(seeds)} seeds: {range_text((min(percents), max(percents)))})"
    return [text, verdict.judge(cell, score, all(entry.complete for entry in seeds))]


def short_table(runs: list[Run]) -> str:
    """Tables 1 and 2 for the README: one row for each cell."""
    header = ["setting", "paper", "four replications", "this program", "verdict", "cost"]
    return table(header, [_short_row(cell, runs) for cell in CELLS])


def _short_row(cell: Cell, runs: list[Run]) -> list[str]:
    row = [cell.title, paper_text(cell), range_text(cell.replications)]
    found = entries(runs, cell.setting, cell.transductive)
    seeds = by_seed(found)
    if seeds:
        text, judged = _judged(cell, seeds)
        fewest = min(entry.evaluation.tasks for entry in seeds)
        text += f" ({fewest:,} tasks)" if fewest != TASKS else ""
        return [*row, f"**{text}**", judged, _cost(seeds[0])]
    if found:
        longest = max(found, key=lambda entry: entry.done)
        text = f"{score_text(longest.score)} ({_iterations(longest)})"
        return [*row, text, "none: shortened", _cost(longest)]
    return [*row, "", "", ""]


def _cost(entry: Entry) -> str:
    run, evaluation = entry.run, entry.evaluation
    return f"{wall_clock(run, evaluation)}; {hardware_text(run.machine, evaluation.machine)}"


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
