"""How well a model classifies drawings with any pen on any paper, as they are and with --clean.

    python benchmarks/cleaning.py [--tasks 500] [--sheet FILE.png]

Tasks of five of the model's test characters, of which it learns from one image of Omniglot each. It
is then asked for other images of these characters: as they are, and their lines redrawn in other
styles. At the end, the same for printed letters, whose examples are printed, too. The sheet shows
what the network sees of the last task's questions, in the order of the table.
"""

import argparse
import collections
import dataclasses
import pathlib

import matplotlib
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from supervised_reptile import plan
from supervised_reptile.classification.examples import pixels_of
from supervised_reptile.data import omniglot
from supervised_reptile.data.cleaning import AROUND, SIDE, thinned
from supervised_reptile.data.decoding import CHARACTERS
from supervised_reptile.data.folders import root
from supervised_reptile.learning import models
from supervised_reptile.learning.accuracy import accuracy
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import (
    Batches,
    Draws,
    EvaluationTasks,
    Purpose,
    batches_of,
)
from supervised_reptile.runs import checkpoints
from supervised_reptile.system.errors import RefusedError

CLEAN = (False, True)

OWN = "Omniglot's own images"
STYLES = {
    "black on white, 200 pixels": {},
    "transparent, 200 pixels": {"paper": (255, 255, 255, 0), "ink": (0, 0, 0, 255), "mode": "RGBA"},
    "1000 pixels, wide pen": {"size": 1000, "pen": 60},
    "very thick pen": {"pen": 24},
    "1000 pixels, thin pen": {"size": 1000, "pen": 5},
    "dark red on yellow": {"paper": (255, 255, 0), "ink": (139, 0, 0)},
    "yellow on white": {"ink": (255, 230, 0)},
    "chalk": {"paper": (40, 40, 40), "ink": (220, 220, 220), "noise": 12},
    "grey pencil": {"paper": (236, 236, 236), "ink": (150, 150, 150), "noise": 5},
    "photo of paper with a shadow": {"noise": 4, "shadow": True},
    "small in a corner": {"size": 800, "pen": 5, "side": 0.15, "corner": (0.01, 0.8)},
}
PAPERS = {"white": (255, 255, 255), "grey": (170, 170, 170)}
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold", "STIXGeneralItalic")


def main():
    """Print a table; save the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--checkpoint", default="experiments/models/o15")
    parser.add_argument("--data-dir", default="data/omniglot")
    parser.add_argument("--sheet", type=pathlib.Path)
    asked = parser.parse_args()
    saved = plan.saved_model("omniglot", {"checkpoint": asked.checkpoint, "shots": 1})
    reptile = Reptile(models.OMNIGLOT, saved.config)
    state = checkpoints.restore(saved.prefix, models.OMNIGLOT, saved.config)
    characters = omniglot.find_characters(root(asked.data_dir, "omniglot"))
    folders = [characters[name] for name in sorted(saved.recorded.split["test"])]
    correct, sheet = collections.defaultdict(list), {}
    random = np.random.default_rng(0)
    for number in range(asked.tasks):
        tasks = evaluation_task(saved.config, number)
        for examples, questions in (of_characters(folders, random), *of_letters(random)):
            support = [pixels(examples, clean) for clean in CLEAN]
            for name, images in questions.items():
                queries = [pixels(images, clean) for clean in CLEAN]
                sheet[name] = np.concatenate([each for both in queries for each in both], axis=1)
                found = [
                    reptile.guess(state, tf.constant(np.concatenate(both)[..., None]), tasks)
                    for both in zip(support, queries)
                ]
                answers = [one.reported for one in found] + [one.transductive for one in found]
                correct[name].append(
                    [int(np.sum(np.array(five[0]) == range(5))) for five in answers]
                )
    columns = ("as they are", "--clean", "as they are, transductive", "--clean, transductive")
    print("| questions |", " | ".join(columns), "|\n|---|---|---|---|---|")
    for name, counts in correct.items():
        cells = [accuracy(np.array(column), 5) for column in np.transpose(counts)]
        percent = [f"{100 * one.mean:.1f} ± {100 * (one.confidence or 0):.1f}" for one in cells]
        print(f"| {name} |", " | ".join(percent), "|")
    if asked.sheet:
        rows = np.concatenate([sheet[name] for name in (OWN, *STYLES)])
        Image.fromarray(rows.repeat(2, 0).repeat(2, 1)).save(asked.sheet)


def evaluation_task(config, number):
    """To adapt to images 0 to 4, one of each class, and to be asked for the next five."""
    evaluation, classes = config.evaluation, np.arange(5)
    draws = Draws(config.run.seed, Purpose.CLASSIFYING, [number])
    batches = batches_of(
        classes[None, None], classes, evaluation.eval_iters, evaluation.eval_batch,
        config.inner.replacement, draws,
    )  # fmt: skip
    passes = np.array([[*range(5), 5 + query] for query in range(5)], np.int32)
    return EvaluationTasks(Batches(*(part[0] for part in batches)), passes[None])


def pixels(images, clean):
    """Images as the network sees them, uint8 [images, 28, 28]; white if refused as blank."""
    form = dataclasses.replace(CHARACTERS, clean=clean)
    found = np.full((len(images), 28, 28), 255, np.uint8)
    for index, image in enumerate(images):
        try:
            found[index] = pixels_of([image], form)[0, :, :, 0]
        except RefusedError as error:
            if "blank" not in str(error):
                raise
    return found


def of_characters(folders, random):
    """A task: Omniglot's images as examples, and questions by the name of their style."""
    chosen = [folders[index] for index in random.choice(len(folders), 5, replace=False)]
    files = [random.permutation([entry.path for entry in folder.images]) for folder in chosen]
    examples, own = ([Image.open(each[number]) for each in files] for number in (0, 1))
    lines = [thinned(np.asarray(image.convert("L")) < 128) for image in own]
    drawn = {
        name: [redrawn(each, random, **style) for each in lines] for name, style in STYLES.items()
    }
    return examples, {OWN: own, **drawn}


def of_letters(random):
    """Yield one task for each paper: letters in other fonts than those of their examples."""
    letters = random.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 5, replace=False)
    fonts = [random.permutation(FONTS) for _ in letters]
    for name, paper in PAPERS.items():
        examples, questions = (
            [printed(letter, those[number], paper) for letter, those in zip(letters, fonts)]
            for number in (0, -1)
        )
        yield examples, {f"letters on {name} paper, in another font than the examples": questions}


def redrawn(
    lines, random, size=200, pen=7, paper=(255, 255, 255), ink=(0, 0, 0), mode="RGB",
    side=1.0, corner=(0.0, 0.0), noise=0, shadow=False,
):  # fmt: skip
    """An image of lines, bool [SIDE, SIDE]. side, corner: where they are, in parts of the size."""
    image = Image.new(mode, (size, size), paper)
    draw, width = ImageDraw.Draw(image), pen / 2
    for row, column in np.argwhere(lines):
        x, y = ((np.array([column, row]) + 0.5) / SIDE * side + corner) * size
        draw.ellipse((x - width, y - width, x + width, y + width), fill=ink)
        for down, right in AROUND[:4]:
            if lines[(row + down) % SIDE, (column + right) % SIDE]:
                there = (x + right * side * size / SIDE, y + down * side * size / SIDE)
                draw.line((x, y, *there), fill=ink, width=pen)
    if noise:
        light, across = np.asarray(image, float), np.linspace(0, 1, size)[None, :, None]
        if shadow:
            light = light * np.where(across < 0.5, 0.55, 0.9 - 0.2 * across)
        noisy = light + random.normal(0, noise, light.shape)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return image


def printed(letter, font, paper):
    """A black letter."""
    image = Image.new("RGB", (100, 100), paper)
    path = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    face = ImageFont.truetype(str(path), 70)
    ImageDraw.Draw(image).text((50, 50), letter, fill=(0, 0, 0), font=face, anchor="mm")
    return image


if __name__ == "__main__":
    main()
