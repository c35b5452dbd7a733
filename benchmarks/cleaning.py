"""How well a model classifies drawings with any pen on any paper, as they are and with --clean.

    python benchmarks/cleaning.py [--tasks 500] [--shots 1] [--sheet FILE.png]

Tasks of five of the model's test characters, which it learns from images of Omniglot. It is then
asked for other images of these characters: as they are, and their lines redrawn in other styles.
At the end, the same for printed letters, whose examples are printed, too. The sheet shows what the
network sees of the last task's questions, in the order of the table.
"""

import argparse
import json
import pathlib

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import supervised_reptile
from supervised_reptile.data import omniglot
from supervised_reptile.data.cleaning import AROUND, SIDE, thinned
from supervised_reptile.data.folders import root
from supervised_reptile.runs import results
from supervised_reptile.system.errors import RefusedError

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
    parser.add_argument("--shots", type=int, default=1, help="examples of each class")
    parser.add_argument("--checkpoint", default="experiments/models/o15")
    parser.add_argument("--data-dir", default="data/omniglot")
    parser.add_argument("--sheet", type=pathlib.Path)
    asked = parser.parse_args()
    models = [
        [
            supervised_reptile.load(asked.checkpoint, clean=clean, transductive=together)
            for together in (False, True)
        ]
        for clean in (False, True)
    ]
    split = json.loads((pathlib.Path(asked.checkpoint) / "run.json").read_text())["split"]
    characters = omniglot.find_characters(root(asked.data_dir, "omniglot"))
    folders = [characters[name] for name in sorted(split["test"])]
    correct, random = {}, np.random.default_rng(0)
    for _ in range(asked.tasks):
        for task in (of_characters(folders, asked.shots, random), of_letters(asked.shots, random)):
            for examples, questions in task:
                rows = ask(models, examples, questions, correct)
                if OWN in questions:
                    sheet = rows
    columns = ("as they are", "--clean", "as they are, transductive", "--clean, transductive")
    print("| questions |", " | ".join(columns), "|\n|---|---|---|---|---|")
    for name, counts in correct.items():
        found = [results.accuracy(np.array(column), 5) for column in np.transpose(counts)]
        cells = [f"{100 * one.mean:.1f} ± {100 * (one.confidence or 0):.1f}" for one in found]
        print(f"| {name} |", " | ".join(cells), "|")
    if asked.sheet:
        side_by_side = np.concatenate([np.concatenate(row, axis=1) for row in sheet])
        Image.fromarray(side_by_side).resize(np.multiply(side_by_side.T.shape, 2)).save(asked.sheet)


def ask(models, examples, questions, correct):
    """Add the numbers of right answers of all models to those of each name. Returns pixels.

    examples: images of the five classes, one class after another. questions: five by name.
    """
    labels, rows, counts = np.repeat(np.arange(5), len(examples) // 5), [], []
    for alone, together in models:
        seen = np.concatenate([pixels(alone, images) for images in questions.values()])
        examples_seen = pixels(alone, examples)
        rows.append(seen.reshape(-1, 5, 28, 28).transpose(0, 2, 1, 3).reshape(-1, 28, 5 * 28))
        for model in (alone, together):
            adapted = model.adapt(examples_seen, labels)
            answers = [adapted.logits(five).argmax(1) for five in seen.reshape(-1, 5, 28, 28)]
            counts.append([int((five == np.arange(5)).sum()) for five in answers])
    raw, raw_together, clean, clean_together = counts
    for name, *row in zip(questions, raw, clean, raw_together, clean_together, strict=True):
        correct.setdefault(name, []).append(row)
    return list(zip(*rows, strict=True))


def pixels(model, images):
    """What the network sees, uint8 [images, 28, 28]; white of what is refused as blank."""
    found = np.full((len(images), 28, 28), 255, np.uint8)
    for index, image in enumerate(images):
        try:
            found[index] = model.pixels([image])[0, :, :, 0]
        except RefusedError as error:
            if "blank" not in str(error):
                raise
    return found


def of_characters(folders, shots, random):
    """Yield one task: Omniglot's images as examples and as questions in all styles."""
    chosen = [folders[index] for index in random.choice(len(folders), 5, replace=False)]
    files = [random.permutation([entry.path for entry in folder.images]) for folder in chosen]
    examples = [Image.open(path) for each in files for path in each[:shots]]
    own = [Image.open(each[shots]) for each in files]
    lines = [thinned(np.asarray(image.convert("L")) < 128) for image in own]
    drawn = {
        name: [redrawn(each, random, **style) for each in lines] for name, style in STYLES.items()
    }
    yield examples, {OWN: own, **drawn}


def of_letters(shots, random):
    """Yield one task for each paper: letters in other fonts than those of their examples."""
    letters = random.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 5, replace=False)
    fonts = [random.permutation(FONTS) for _ in letters]
    for name, paper in PAPERS.items():
        examples = [
            printed(letter, font, paper)
            for letter, those in zip(letters, fonts)
            for font in those[:shots]
        ]
        questions = [printed(letter, those[-1], paper) for letter, those in zip(letters, fonts)]
        yield examples, {f"printed letters on {name} paper; so are the examples": questions}


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
