"""The report in Markdown, and the table of it that stands in the README."""

import pathlib
import re
from collections.abc import Callable, Iterable, Sequence

from supervised_reptile.report import figures, matching
from supervised_reptile.report.matching import Entry
from supervised_reptile.report.reading import Evaluation, Json, Run
from supervised_reptile.settings import GRADIENTS, OVERLAPS, TABLES, Setting
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import escaped

Placed = dict[str, list[Entry]]
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
MARKED = re.compile(rf"(?<={BEGIN})(\r?\n).*?(?={END})", re.DOTALL)
VERDICT = """\
Accuracies are those on the test set, in percent, with 95 % intervals over tasks: they leave out
how runs differ. The verdict is "inside the replications' range" if the accuracy is in the range of
three or four complete runs by others, all but one with the authors' networks; else "inside the
paper's interval widened by ours" if it differs from the paper's by no more than the sum of both
intervals; else how far from that range it is. A shortened run has no verdict. Of the runs of a
seed, the one with most tasks counts; of several seeds, those with all tasks, if there are any.
"""
COMMIT = re.compile(r"(?<=^[0-9a-f]{7})[0-9a-f]+")  # what is not shown of one
UNKNOWN = "not recorded"
HEADER = ["setting", "paper", "replications", "this program", "verdict"]
TAIL = ["meta-iterations", "tasks", "seed", "wall-clock", "hardware", "commit", "run"]


def write(runs: list[Run], drawn: list[str]) -> str:
    """The whole report. drawn: names of the images that lie beside it, without their endings."""
    placed, others = matching.place(runs)
    own, table = (figures.GRADIENTS, figures.OVERLAP), paper_table(placed)
    parts = [
        "# What the runs gave\n",
        *([] if runs else ["There are no runs in this folder.\n"]),
        *_section("Other runs", others_table(others)),
        *_section("Unfinished runs", unfinished_table(runs)),
        *(_section("Tables 1 and 2", VERDICT, table) if table else []),
        *_section("Gradients of the inner loop (section 6.2)", figure_table(GRADIENTS, placed)),
        *_images([name for name in drawn if name == figures.GRADIENTS]),
        *_section("Overlap of mini-batches (section 6.3)", figure_table(OVERLAPS, placed)),
        *_images([name for name in drawn if name == figures.OVERLAP]),
        *_section("Learning curves", *_images([name for name in drawn if name not in own])),
    ]
    return "\n".join(parts)


def _section(title: str, *texts: str) -> list[str]:
    """A section, or nothing if it would be empty."""
    return [f"## {title}\n", *filter(None, texts)] if any(texts) else []


def _images(names: list[str]) -> list[str]:
    return [f"![{name}]({name}.png)\n" for name in names]


def replaced(readme: pathlib.Path, runs: list[Run]) -> str:
    """The text of a README with the results between its marks made anew.

    Raises RefusedError if it cannot be read or lacks the marks.
    """
    try:
        text = readme.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"--readme {readme} cannot be read ({error}): name a README") from None
    if not MARKED.search(text):
        raise RefusedError(
            f"--readme {readme} has no place for the results: put the lines {BEGIN} and {END} "
            "where they should stand"
        )
    placed, _ = matching.place(runs)
    missing = [setting.label for setting in TABLES if not placed[setting.name]]
    if len(missing) == len(TABLES):
        raise RefusedError(
            f"--readme {readme} would lose its results, since there are no runs of tables 1 and 2: "
            "name another folder"
        )
    not_run = f"Not run: {'; '.join(missing)}.\n" if missing else ""
    parts = filter(None, (short_table(placed), not_run))
    section = "\n" + "".join(f"\n{part}" for part in parts) + "\n"
    return MARKED.sub(lambda found: section.replace("\n", found[1]), text, count=1)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty text if it has no rows."""
    rows = [[escaped(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if rows else ""


def paper_table(placed: Placed) -> str:
    """Tables 1 and 2: each run that is in a cell, and the means of several seeds."""
    rows = []
    for setting in TABLES:
        head = _head(setting)
        for entry in placed[setting.name]:
            rows.append([*head, *_judged([entry]), *_tail(entry)])
            head = ["", "", ""]
        for seeds in matching.pools(placed[setting.name]):
            if len(seeds) > 1:
                note = ["mean and range of the seeds", *[""] * (len(TAIL) - 1)]
                rows.append([*head, *_judged(seeds, placed[setting.name]), *note])
    return _table([*HEADER, *TAIL], rows)


def short_table(placed: Placed) -> str:
    """Tables 1 and 2 for the README: a row for each cell that there are runs of."""
    rows = []
    for setting in TABLES:
        found = placed[setting.name]
        longest = [[max(found, key=lambda entry: entry.done)]] if found else []
        for seeds in matching.pools(found) or longest:
            rows.append([*_head(setting), *_judged(seeds, found)])
    return _table(HEADER, rows)


def _head(setting: Setting) -> list[str]:
    (paper, interval), (least, most) = setting.paper, setting.replications
    return [setting.label, f"{paper:.2f} ± {interval:.2f}", f"{least:.2f} – {most:.2f}"]


def _judged(seeds: list[Entry], entries: Sequence[Entry] = ()) -> list[str]:
    """The score of the runs of one or several seeds, and the verdict on it. entries: all of their
    setting."""
    scores = [entry.score for entry in seeds]
    text, percents = f"**{matching.mean_of(scores)}**", [score.percent for score in scores]
    if seeds[0].shortened:
        return [f"{text} ({_iterations(seeds[0])}){seeds[0].mark}", "none: shortened"]
    if len(seeds) > 1:
        text += f" ({len(seeds)} seeds: {min(percents):.2f} – {max(percents):.2f})"
    tasks = sorted({entry.evaluation.tasks for entry in seeds})
    if tasks != [matching.TASKS]:
        text += f" ({' – '.join(f'{number:,}' for number in tasks)} tasks)"
    whole = [one for one in entries if not one.shortened and one.mark == seeds[0].mark]
    if others := [one.run.name for one in whole if one not in seeds]:
        text += f" (without {', '.join(others)})"
    alike = all(entry.complete and not entry.mark for entry in seeds)
    return [text + seeds[0].mark, matching.judge(seeds[0].setting, scores, alike)]


def figure_table(settings: Sequence[Setting], placed: Placed) -> str:
    """Section 6.2 or 6.3: final accuracy of each of its settings that there is a run of."""
    rows = []
    for setting in settings:
        varied = [str(setting.flags[name]) for name in ("inner_iters", "inner_batch")]
        for entry in placed[setting.name]:
            score = f"{entry.score}{' (shortened)' if entry.shortened else ''}"
            rows.append([setting.label, *varied, score, *_tail(entry)])
    return _table(["setting", "inner steps", "inner batch", "test accuracy", *TAIL], rows)


def _tail(entry: Entry) -> list[str]:
    run, line = entry.run, entry.evaluation.line
    times = [f"evaluation {duration((line.get('seconds') or {}).get('evaluation'))}"]
    if entry.done == run.total:  # how long an earlier checkpoint took is not known
        times.insert(0, f"training {duration(run.content['seconds'])}")
    return [
        _iterations(entry),
        f"{entry.evaluation.tasks:,}",
        str(run.seed),
        ", ".join(times),
        _computed(entry, lambda part: machine_text(part.get("machine"))),
        _computed(entry, lambda part: COMMIT.sub("", part.get("commit") or UNKNOWN)),
        run.name,
    ]


def _iterations(entry: Entry) -> str:
    total = "" if entry.run.total == entry.done else f" (of a run of {entry.run.total:,})"
    done = f"{entry.done:,}{total}"
    return f"**shortened:** {done} of {entry.full:,}" if entry.shortened else done


def _computed(entry: Entry, text: Callable[[Json], str]) -> str:
    """The machines or commits of the parts of a run, and of its evaluation. text: makes one of the
    record of a part."""
    content, line = entry.run.content, entry.evaluation.line
    training, evaluation = (content, *content.get("parts", ())), line.get("parts", (line,))
    trained, evaluated = (
        ", then ".join(dict.fromkeys(map(text, parts))) for parts in (training, evaluation)
    )
    both = f"training {trained}, evaluation {evaluated}"
    return trained if trained == evaluated else both


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return UNKNOWN
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def machine_text(machine: Json | None) -> str:
    """The machine that a record names, for people."""
    if not machine:
        return UNKNOWN
    cores, device = machine.get("cores"), machine.get("device", "CPU")
    text = f"{machine.get('cpu', 'unknown processor')}, {cores} core{'' if cores == 1 else 's'}"
    if device != "CPU":
        count = machine.get("gpus", 1)
        tf32 = ", TF32" if machine.get("tf32") else ""  # other numbers
        text = f"{machine.get('gpu', device)}{f' x {count}' if count != 1 else ''}{tf32}, {text}"
    processes = machine.get("processes", 1)
    return text if processes == 1 else f"{processes} processes on {text} each"


def others_table(others: list[tuple[Run, Evaluation]]) -> str:
    """Evaluations that are none of the paper's."""
    rows = []
    for run, evaluation in others:
        config, done = evaluation.config, evaluation.iteration
        number = 0 if done is None else done + 1
        known = done is not None or not config.outer.meta_iters
        note = " (flags of the evaluation were assumed)" if evaluation.line.get("assumed") else ""
        if config.run.seed != run.seed:
            note = f" (evaluation: {config.run.seed}){note}"
        rows.append(
            [
                run.name,
                matching.other_images(run, evaluation) or "the paper's",
                f"{config.task.shots}-shot {config.task.classes}-way",
                *(str(evaluation.scores.get(together, "")) for together in (False, True)),
                f"{number:,} of {run.total:,}" if known else UNKNOWN,
                f"{evaluation.tasks:,}",
                f"{run.seed}{note}",
            ]
        )
    header = ["run", "images", "shots, ways", "test accuracy", "transductive", "meta-iterations"]
    return _table([*header, "tasks", "seed"], rows)


def unfinished_table(runs: list[Run]) -> str:
    """How far the runs are that are not finished."""
    rows = [
        [run.name, f"{run.done:,}", f"{run.total:,}", duration(run.content["seconds"])]
        for run in runs
        if not run.finished
    ]
    return _table(["run", "meta-iterations, at least", "of", "training so far"], rows)
