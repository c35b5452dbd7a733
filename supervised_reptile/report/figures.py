"""The figures of the report, as PNG. They need matplotlib, and nothing else here does."""

import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from supervised_reptile.learning.accuracy import half_width
from supervised_reptile.report.matching import Entry, by_seed, other_images, place
from supervised_reptile.report.reading import Curve, Run, warn
from supervised_reptile.settings import GRADIENTS as COMBINATIONS
from supervised_reptile.settings import METHODS, OVERLAPS, Setting
from supervised_reptile.system.files import replacing
from supervised_reptile.system.output import escaped

GRADIENTS, OVERLAP = "gradients", "overlap"
WIDTH = 1 / 20  # of a run: the window of the moving averages
NEAR = 15  # points in a window, at least
DRAWN = 200  # points of a moving average, and faint points, that are drawn, at most
STYLE: Any = {"axes.grid": True, "grid.alpha": 0.3, "font.size": 10, "legend.frameon": False}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}

# Without the version of matplotlib, the same runs give the same file.
SAVED: Any = {"dpi": 110, "bbox_inches": "tight", "metadata": {"Software": None}}


def draw(runs: list[Run], folder: pathlib.Path) -> list[str]:
    """Draw all figures that there are runs for, and return their names, without the endings.

    Without matplotlib there are none, which is said. Raises OSError.
    """
    try:
        import matplotlib
    except ImportError:
        warn("no figures: matplotlib is missing; install 'supervised-reptile[report]'")
        return []
    names = []
    with matplotlib.rc_context(STYLE):
        for name, figure in figures(runs):
            with replacing(folder / f"{name}.png") as beside:
                figure.savefig(beside, format="png", **SAVED)
            names.append(name)
    return names


def figures(runs: list[Run]) -> Iterator[tuple[str, Any]]:
    """The names of the figures that there are runs for, and the figures themselves."""
    placed, _ = place(runs)
    if curves := [(one, run) for one in COMBINATIONS if (run := _whole(placed[one.name]))]:
        yield GRADIENTS, gradients(curves)
    if points := [(one, by[0]) for one in OVERLAPS if (by := by_seed(placed[one.name]))]:
        yield OVERLAP, overlap(points)
    shown = [run for _, run in curves]
    for run in runs:
        if run.curve and len(run.curve.iterations) > 1 and run not in shown:
            yield _file_name(run), learning_curve(run)


def _whole(entries: list[Entry]) -> Run | None:
    """The run that is drawn as a curve of section 6.2: of the lowest seed, the first by name."""
    found = [entry.run for entry in entries if entry.run.curve and not entry.shortened]
    return min(found, key=lambda run: run.seed, default=None)


def _file_name(run: Run) -> str:
    """A name for its curve, which a file can have and a Markdown link can hold."""
    plain = re.sub(r"[^\w.+-]", "_", run.name, flags=re.ASCII)[:80]
    other = f"_{zlib.crc32(run.name.encode(errors='surrogateescape')):08x}"
    return f"curve_{plain}{'' if plain == run.name else other}"


def _axes(columns: int = 1, width: float = 8, height: float = 5) -> tuple[Any, Any]:
    """A figure outside of pyplot, which keeps no state, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def smooth(curve: Curve, split: str, width: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Moving averages of one set over windows of so many meta-iterations around each point, and
    half the widths of their 95 % intervals, NaN where the window has a single point: [points]."""
    values = curve.accuracy[split]
    begin = np.searchsorted(curve.iterations, curve.iterations - width / 2, "left")
    end = np.searchsorted(curve.iterations, curve.iterations + width / 2, "right")
    count = end - begin
    sums, squares = (np.concatenate([[0], np.cumsum(v)]) for v in (values, values**2))
    mean, several = (sums[end] - sums[begin]) / count, np.where(count > 1, count, np.nan)
    variance = np.maximum(squares[end] - squares[begin] - count * mean**2, 0) / (several - 1)
    return mean, half_width(variance, several, classes)


def _line(axes: Any, run: Run, split: str, label: str, **style: Any) -> None:
    """One curve: single tasks as faint points, their moving average, its 95 % interval."""
    assert run.curve
    iterations, values = run.curve.iterations, run.curve.accuracy[split]
    size = -(-len(values) // DRAWN)
    width = max(WIDTH * run.total, NEAR * np.ptp(iterations) / len(values))
    averages = smooth(run.curve, split, width, run.config.task.classes)
    mean, interval = (100 * found[::size] for found in averages)
    (line,) = axes.plot(iterations[::size], mean, label=label, linewidth=1.6, **style)
    faint = {"color": line.get_color(), "linewidth": 0}
    axes.fill_between(iterations[::size], mean - interval, mean + interval, alpha=0.12, **faint)
    single = {"alpha": 0.25, "marker": ".", "markersize": 2, "rasterized": True}
    axes.plot(iterations[::size], 100 * values[::size], **single, **faint)


def _name_axes(axes: Any, title: str) -> None:
    axes.set(xlabel="meta-iteration", ylabel="accuracy on single tasks (%)")
    axes.set_title(escaped(title), parse_math=False)


def gradients(curves: list[tuple[Setting, Run]]) -> Any:
    """All curves, and once more those near the top.

    Colours are lengths of the inner loop. Lines are solid for sums, lighter and dashed for means,
    and dotted for the last gradient alone.
    """
    from matplotlib import colormaps

    figure, panels = _axes(columns=2, width=14, height=6)
    for axes, title in zip(panels, ("all curves", "from 85 %")):
        for setting, run in curves:
            flags = setting.flags
            kind = 2 if flags.get("foml") else 0 if flags["meta_step"] == 0.25 else 1
            color = colormaps["tab20c"](4 * (flags["inner_iters"] - 1) + kind)
            _line(axes, run, "test", setting.label, color=color, linestyle=("-", "--", ":")[kind])
        _name_axes(axes, title)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5)
    panels[1].set_ylim(85, 100)
    figure.suptitle("Gradients of the inner loop (section 6.2): 5-shot 5-way Omniglot, test set")
    return figure


def overlap(points: list[tuple[Setting, Entry]]) -> Any:
    """Final accuracies over inner steps and over inner batches.

    Of several seeds the first is drawn; the table has all.
    """
    figure, panels = _axes(columns=2, width=11, height=5.5)
    sides = (("inner_iters", "inner_batch", 25), ("inner_batch", "inner_iters", 4))
    for label in dict.fromkeys(setting.label for setting, _ in points):
        method, order = label.rsplit(", ", 1)
        style = {"color": f"C{[*METHODS.values()].index(method)}", "label": label, "marker": "."}
        style["linestyle"] = "--" if order == "replacement" else "-"
        for axes, (varied, fixed, value) in zip(panels, sides):
            line = [
                (setting.flags[varied], entry.score.percent, entry.score.interval or 0)
                for setting, entry in points
                if setting.label == label and setting.flags[fixed] == value
            ]
            axes.errorbar(*np.reshape(line, (-1, 3)).T, **style)
    steps, batches = panels
    steps.set(xlabel="inner steps (batches of 25)", ylabel="final test accuracy (%)")
    batches.set(xlabel="images of an inner batch (4 steps)", ylabel="final test accuracy (%)")
    batches.sharey(steps)
    figure.legend(*steps.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("Overlap of mini-batches (section 6.3, shortened to 10,000 meta-iterations)")
    return figure


def learning_curve(run: Run) -> Any:
    """The curves of all sets of a run."""
    figure, axes = _axes(width=7, height=4)
    for split in run.curve.accuracy if run.curve else ():
        _line(axes, run, split, {"train": "training", "val": "validation"}.get(split, split))
    axes.legend(loc="lower right")
    images = other_images(run) or run.config.dataset
    _name_axes(axes, f"{run.name} ({images}), {run.done:,} of {run.total:,} meta-iterations")
    return figure
