"""What was answered, as lines, as JSON, and beside the truth."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an image was taken for.

    path: of the image. probabilities: by class, the likeliest first. truth: its class, None if
    unknown.
    """

    path: str
    probabilities: Mapping[str, float]
    truth: str | None = None

    @property
    def best(self) -> str:
        """The likeliest class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """That of the likeliest class."""
        return self.probabilities[self.best]

    @property
    def runner_up(self) -> str:
        """The second likeliest class."""
        return list(self.probabilities)[1]


def line(answer: Answer) -> str:
    """Path, class, probability and runner-up, with tabs between them."""
    words = (answer.path, answer.best, f"{answer.probability:.4f}", answer.runner_up)
    return "\t".join(word.translate(ESCAPES) for word in words)


def summary(answers: Sequence[Answer]) -> list[str]:
    """Accuracy in all and by class, and the confusion matrix, as lines that begin with #."""
    classes = sorted({name for answer in answers for name in answer.probabilities})
    counts = {
        truth: [sum(a.truth == truth and a.best == best for a in answers) for best in classes]
        for truth in classes
    }
    right = sum(counts[name][index] for index, name in enumerate(classes))
    lines = [f"# accuracy: {right / len(answers):.4f} ({right} of {len(answers)})"]
    for index, name in enumerate(classes):
        if total := sum(counts[name]):
            correct = counts[name][index]
            lines.append(f"#   {name}: {correct / total:.4f} ({correct} of {total})")
    width = max(map(len, (*classes, str(len(answers)))))
    lines.append("# rows: what it is; columns: what it was taken for")
    lines.append("# " + " ".join(f"{name:>{width}}" for name in ("", *classes)))
    for name, row in counts.items():
        lines.append("# " + " ".join(f"{cell:>{width}}" for cell in (name, *row)))
    return lines


def as_json(answers: Sequence[Answer]) -> str:
    """A list of objects with path, class, probabilities by class, and truth where it is known."""
    known = [
        {"path": answer.path, "class": answer.best, "probabilities": dict(answer.probabilities)}
        | ({"truth": answer.truth} if answer.truth is not None else {})
        for answer in answers
    ]
    return json.dumps(known, indent=1) + "\n"
