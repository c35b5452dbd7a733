"""The figures of the report, as PNG and SVG. They need matplotlib, and nothing else here does."""

import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from supervised_reptile.report.curves import smooth
from supervised_reptile.report.matching import Entry, by_seed, entries
from supervised_reptile.report.reading import Run
from supervised_reptile.report.settings import COMBINATIONS, METHODS, OVERLAPS, Combination
from supervised_reptile.system.files import replacing
from supervised_reptile.system.output import escaped

Numbers = npt.NDArray[Any]
GRADIENTS, OVERLAP, DENSITY = "gradients", "overlap", "gradients_density"
WIDTH = 1 / 20  # of a run: the window of the moving averages
EVAL_INTERVAL = 10  # meta-iterations, where a run does not record it: the program's default
DRAWN = 200  # points of a moving average that are drawn, at most
NAME = 80  # characters of a run's name in that of a file
FAINT = 200  # faint points that are drawn, at most: each is the mean of neighbouring evaluations
SETTINGS: Any = {
    "svg.hashsalt": "report",
    "svg.fonttype": "none",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
}
SETTINGS |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw(runs: list[Run], folder: pathlib.Path) -> list[str]:
    """Draw all figures that there are runs for, and return their names, without the endings.

    Raises OSError.
    """
    import matplotlib

    matplotlib.use("agg")
    names = []
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that the font lacks
        for name, figure in figures(runs):
            for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                with replacing(folder / f"{name}.{ending}") as beside:
                    figure.savefig(
                        beside, format=ending, dpi=110, bbox_inches="tight", metadata=metadata
                    )
            names.append(name)
    return names


def figures(runs: list[Run]) -> Iterator[tuple[str, Any]]:
    """The names of the figures that there are runs for, and the figures themselves."""
    chosen = combinations(runs)
    if chosen:
        yield GRADIENTS, _gradients(chosen)
    pairs = densities(runs)
    if pairs:
        yield DENSITY, _density(pairs)
    points = [(point, by_seed(entries(runs, point.setting))) for point in OVERLAPS]
    if any(found for _, found in points):
        yield OVERLAP, _overlap(points)
    shown = {run.name for _, run in chosen} | {dense.name for *_, dense in pairs}
    for run in runs:
        if run.curve and len(run.curve.iterations) > 1 and run.name not in shown:
            yield _file_name(run), _learning_curve(run)


def _file_name(run: Run) -> str:
    """A name for its curve, which a file can have and a Markdown link can hold."""
    plain = re.sub(r"[^\w.+-]", "_", run.name, flags=re.ASCII)[:NAME]
    other = "" if plain == run.name else f"_{zlib.crc32(os.fsencode(run.name)):08x}"
    return f"curve_{plain}{other}"


def _axes(columns: int = 1, width: float = 8, height: float = 5) -> tuple[Any, Any]:
    """A figure outside of pyplot, which keeps no state, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _line(axes: Any, run: Run, split: str, label: str, **style: Any) -> None:
    """One curve: faint points, moving average, its 95 % interval."""
    assert run.curve
    iterations, values = run.curve.iterations, run.curve.accuracy[split]
    found = smooth(run.curve, split, WIDTH * run.total)
    drawn = slice(None, None, -(-len(values) // DRAWN))
    x, mean, interval = iterations[drawn], 100 * found.mean[drawn], 100 * found.interval[drawn]
    (line,) = axes.plot(x, mean, label=label, linewidth=1.6, **style)
    faint = {"color": line.get_color(), "linewidth": 0}
    axes.fill_between(x, mean - interval, mean + interval, alpha=0.12, **faint)
    x, raw = (_grouped(of, FAINT) for of in (iterations, values))
    axes.plot(x, 100 * raw, alpha=0.25, marker=".", markersize=2, rasterized=True, **faint)


def _grouped(values: Numbers, most: int) -> Numbers:
    """Means of neighbouring values, so many at most."""
    size = -(-len(values) // most)
    whole = len(values) // size * size
    return np.reshape(values[:whole], (-1, size)).mean(axis=1)


def _name_axes(axes: Any, title: str) -> None:
    axes.set(xlabel="meta-iteration", ylabel="accuracy on single tasks (%)")
    axes.set_title(escaped(title), parse_math=False)


def combinations(runs: list[Run]) -> list[tuple[Combination, Run]]:
    """The run for each curve of section 6.2 that has one that is not shortened.

    Of several, one whose curve reaches the end; then the one that was evaluated least often, as all
    are when the commands here were used; then the lowest seed; then the one with most points.
    """
    chosen = []
    for combination in COMBINATIONS:
        found = _whole(runs, combination)
        if found:
            chosen.append((combination, min(found, key=_rank)))
    return chosen


def _rank(run: Run) -> tuple[bool, int, int, int]:
    return (not _reaches_the_end(run), -_interval(run), run.seed, -_points(run))


def _reaches_the_end(run: Run) -> bool:
    return bool(run.curve and run.curve.iterations[-1] + _interval(run) >= run.total)


def _interval(run: Run) -> int:
    """Meta-iterations from one evaluation along the way to the next."""
    interval = run.flags.get("eval_interval")
    return interval if isinstance(interval, int) else EVAL_INTERVAL


def _whole(runs: list[Run], combination: Combination) -> list[Run]:
    """Its runs with a curve that are not shortened."""
    found: list[Entry] = entries(runs, combination.setting)
    return [entry.run for entry in found if entry.run.curve and not entry.shortened]


def _points(run: Run) -> int:
    return len(run.curve.iterations) if run.curve else 0


def densities(runs: list[Run]) -> list[tuple[str, Run, Run]]:
    """The run for each curve of section 6.2 and one of the same seed that was evaluated more often,
    if there is one."""
    pairs = []
    for combination, sparse in combinations(runs):
        denser = [
            run
            for run in _whole(runs, combination)
            if run.seed == sparse.seed and _interval(run) < _interval(sparse)
        ]
        if denser:
            pairs.append((combination.label, sparse, min(denser, key=_density_rank)))
    return pairs


def _density_rank(run: Run) -> tuple[bool, int, int]:
    return (not _reaches_the_end(run), _interval(run), -_points(run))


def _gradients(chosen: list[tuple[Combination, Run]]) -> Any:
    """All curves, and once more those near the top.

    Colours are lengths of the inner loop. Lines are solid for sums, lighter and dashed for means,
    and dotted for the last gradient alone.
    """
    figure, panels = _axes(columns=2, width=14, height=6)
    for axes, title in zip(panels, ("all curves", "from 85 %")):
        for combination, run in chosen:
            _line(axes, run, "test", combination.label, **_style(combination))
        _name_axes(axes, title)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5)
    panels[1].set_ylim(85, 100)
    figure.suptitle("Gradients of the inner loop (section 6.2): 5-shot 5-way Omniglot, test set")
    return figure


def _style(combination: Combination) -> dict[str, Any]:
    from matplotlib import colormaps

    flags = combination.setting.flags
    kind = 2 if flags["foml"] else 0 if flags["meta_step"] == 0.25 else 1
    shade = 4 * (flags["inner_iters"] - 1) + kind  # of four for each colour
    return {"color": colormaps["tab20c"](shade), "linestyle": ("-", "--", ":")[kind]}


def _density(pairs: list[tuple[str, Run, Run]]) -> Any:
    figure, axes = _axes(width=6, height=4)
    for label, sparse, dense in pairs:
        for run in (sparse, dense):
            every = f"{_points(run):,} evaluations"
            _line(axes, run, "test", f"{label}, {every}")
    axes.legend(loc="lower right")
    _name_axes(axes, "The same training, evaluated more and less often")
    return figure


def _overlap(points: list[tuple[Any, list[Entry]]]) -> Any:
    figure, (steps, batches) = _axes(columns=2, width=11, height=5.5)
    lines = dict.fromkeys(point.line for point, _ in points)
    for line in lines:
        style = {"color": f"C{METHODS.index(line.rsplit(', ', 1)[0])}", "label": line}
        style |= {"linestyle": "--" if line.endswith("replacement") else "-", "marker": "."}
        of_line = [(point, found) for point, found in points if point.line == line and found]
        _errorbar(steps, [(p.inner_iters, f) for p, f in of_line if p.inner_batch == 25], style)
        _errorbar(batches, [(p.inner_batch, f) for p, f in of_line if p.inner_iters == 4], style)
    steps.set(xlabel="inner steps (batches of 25)", ylabel="final test accuracy (%)")
    batches.set(xlabel="images of an inner batch (4 steps)", ylabel="final test accuracy (%)")
    batches.sharey(steps)
    figure.legend(*steps.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("Overlap of mini-batches (section 6.3, shortened to 10,000 meta-iterations)")
    return figure


def _errorbar(axes: Any, found: list[tuple[int, list[Entry]]], style: dict[str, Any]) -> None:
    """A line of final accuracies. Of several seeds the first is drawn; the table has all."""
    scores = [(x, entry[0].score) for x, entry in sorted(found, key=lambda one: one[0])]
    axes.errorbar(
        [x for x, _ in scores],
        [score.percent for _, score in scores],
        yerr=[score.interval or 0 for _, score in scores],
        **style,
    )


def _learning_curve(run: Run) -> Any:
    figure, axes = _axes(width=7, height=4)
    for split in run.curve.accuracy if run.curve else ():
        _line(axes, run, split, {"train": "training", "val": "validation"}.get(split, split))
    axes.legend(loc="lower right")
    _name_axes(axes, f"{run.name} ({run.dataset}), {run.done:,} of {run.total:,} meta-iterations")
    return figure
