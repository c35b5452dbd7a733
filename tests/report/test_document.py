"""The report says what runs gave; nothing shortened or of other images looks like the paper's."""

import made_up
import pytest

from supervised_reptile.data.miniimagenet import CLASSES
from supervised_reptile.report import document
from supervised_reptile.report.reading import read_runs
from supervised_reptile.system.errors import RefusedError

FLAGS = made_up.flags_of("o15")
CELL = "Omniglot 1-shot 5-way |"
README = "# Mine\n\n<!-- results -->\nold\n<!-- end of results -->\n\nrest\n"


@pytest.fixture
def written(tmp_path):
    """A function: the report on the runs made up so far, or the README that it writes."""

    def write(readme=False):
        runs = read_runs(tmp_path)
        if not readme:
            return document.write(runs, [])
        (tmp_path / "README.md").write_text(README)
        return document.replaced(tmp_path / "README.md", runs)

    return write


def row(text, *words):
    """The cells of the only line of a table that holds all these words."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    (found,) = [line for line in lines if all(word in line for word in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_complete_run_stands_beside_the_paper(tmp_path, written):
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.41, 97.7)], commit="abcdef012")
    text = written()
    assert row(text, CELL) == [
        *("Omniglot 1-shot 5-way", "95.39 ± 0.09", "95.20 – 95.56"),
        *("**95.41 ± 0.10**", "inside the replications' range", "100,000", "10,000", "0"),
        *("training 2 h 0 min, evaluation 10 min", "Abacus 9, 1 core"),
        *("training abcdef0, evaluation 0123456", "mine"),
    ]
    assert row(text, "| Omniglot 1-shot 5-way, transductive |")[3] == "**97.70 ± 0.10**"
    assert "Omniglot 5-shot 5-way" not in text


def test_each_commit_and_machine_of_a_run_is_named(tmp_path, written):
    parts = [{"commit": "2" * 40, "machine": made_up.MACHINE}, {"commit": "1" * 40}]
    line = made_up.line(FLAGS, 95)
    line["parts"] = [{**line, "commit": commit} for commit in ("3" * 40, line["commit"])]
    made_up.run(tmp_path / "a", FLAGS, [line], commit="1" * 40, parts=parts)
    assert row(written(), CELL)[9:11] == [
        "training Abacus 9, 1 core, then not recorded, evaluation Abacus 9, 1 core",
        "training 1111111, then 2222222, evaluation 3333333, then 0123456",
    ]


def test_the_readme_has_a_row_for_each_cell_that_was_run_between_its_marks(tmp_path, written):
    made_up.run(tmp_path / "mine", FLAGS, [95.41])
    text = written(readme=True)
    assert text.count("\n|") == 2 + 1
    assert row(text, CELL)[3:] == ["**95.41 ± 0.10**", "inside the replications' range"]
    (line,) = [line for line in text.splitlines() if line.startswith("Not run: ")]
    assert line.count(";") == 10 and line.endswith("miniImageNet 5-shot 5-way, transductive.")
    # Nothing else changes, and nothing at all if it is written again.
    assert text.startswith("# Mine\n\n<!-- results -->\n\n| setting |")
    assert text.endswith("transductive.\n\n<!-- end of results -->\n\nrest\n")
    (tmp_path / "README.md").write_text(text)
    assert document.replaced(tmp_path / "README.md", read_runs(tmp_path)) == text


@pytest.mark.parametrize("text", ["", "<!-- results -->\n", "<!-- end of results -->\n"])
def test_a_readme_without_marks_is_refused(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(RefusedError, match="no place for the results"):
        document.replaced(path, [])
    with pytest.raises(RefusedError, match="cannot be read"):
        document.replaced(tmp_path / "nowhere", [])


def test_a_shortened_run_is_marked_wherever_it_stands(tmp_path, written):
    made_up.run(tmp_path / "short", {**FLAGS, "meta_iters": 1500}, [95.4])
    shown = ["**95.40 ± 0.10** (**shortened:** 1,500 of 100,000)", "none: shortened"]
    assert row(written(), CELL)[3:6] == [*shown, "**shortened:** 1,500 of 100,000"]
    made_up.run(tmp_path / "shorter", {**FLAGS, "meta_iters": 1000}, [90])
    assert row(written(readme=True), CELL)[3:] == shown


def test_few_tasks_are_named(tmp_path, written):
    made_up.run(tmp_path / "mine", {**FLAGS, "eval_samples": 500}, [94.5])
    shown = ["**94.50 ± 0.10** (500 tasks)", "outside the replications' range by 0.70 points"]
    assert row(written(), CELL)[3:5] == shown
    assert row(written(readme=True), CELL)[3:] == shown


def test_two_seeds_have_each_a_row_and_a_mean(tmp_path, written):
    for seed, percent in ((0, 95.2), (1, 95.6)):
        made_up.run(tmp_path / f"seed{seed}", {**FLAGS, "seed": seed}, [percent])
    text = written()
    assert row(text, "| seed0 |")[3:5] == ["**95.20 ± 0.10**", "inside the replications' range"]
    assert row(text, "| seed1 |")[4] == "outside the replications' range by 0.04 points"
    mean = "**95.40 ± 0.07** (2 seeds: 95.20 – 95.60)"
    assert row(text, "2 seeds")[3:5] == [mean, "inside the replications' range"]
    assert row(written(readme=True), CELL)[3] == mean


def test_two_runs_of_a_seed_are_both_named(tmp_path, written):
    for name, percent in (("here", 95.3), ("there", 95.4)):
        made_up.run(tmp_path / name, FLAGS, [percent])
    assert row(written(readme=True), CELL)[3] == "**95.40 ± 0.10** (without here)"
    assert row(written(), "| here |")[3] == "**95.30 ± 0.10**"


def test_a_second_seed_with_few_tasks_leaves_the_alarm_on(tmp_path, written):
    for seed, percent, tasks in ((0, 90, 10_000), (1, 95.4, 100)):
        flags = {**FLAGS, "seed": seed, "eval_samples": tasks}
        made_up.run(tmp_path / f"seed{seed}", flags, [percent])
    alarm = "**OUTSIDE the replications' range by 5.20 points: look for a defect**"
    assert row(written(readme=True), CELL)[3:] == ["**90.00 ± 0.10** (without seed1)", alarm]
    assert row(written(), "| seed0 |")[4] == alarm
    assert row(written(), "| seed1 |")[3] == "**95.40 ± 0.10** (100 tasks)"


def m15_on(packaging, folder, percent, iterations=100_000):
    """A run of m15 on images of a packaging."""
    flags = made_up.flags_of("m15", meta_iters=iterations)
    data = {"origin": {"digest": "files", "packaging": packaging}, "digest": packaging}
    lines = [made_up.line(flags, percent, data=data, dataset="miniimagenet")]
    made_up.run(folder, flags, lines, data=data, dataset="miniimagenet", split=CLASSES)


def test_ready_made_images_are_marked(tmp_path, written):
    m15_on("ILSVRC2012_img_train, unpacked", tmp_path / "ours", 47)
    m15_on("pickles", tmp_path / "theirs", 47)
    m15_on("pickles", tmp_path / "short", 47, iterations=1000)
    text, score, mark = written(), "**47.00 ± 0.10**", "(ready-made images)"
    assert row(text, "| ours |")[3] == score
    assert row(text, "| theirs |")[3] == f"{score} {mark}"
    assert row(text, "| short |")[3] == f"{score} (**shortened:** 1,000 of 100,000) {mark}"
    text = written(readme=True)
    assert row(text, "miniImageNet 1-shot 5-way |", mark)[3] == f"{score} {mark}"
    assert text.count(score) == 2


def test_no_defect_is_suspected_of_a_run_on_images_that_others_have_resized(tmp_path, written):
    m15_on("ILSVRC2012_img_train.tar", tmp_path / "ours", 48.15)
    m15_on("pickles", tmp_path / "theirs", 48.15)
    points = "the replications' range by 1.00 points"
    assert row(written(), "| ours |")[4] == f"**OUTSIDE {points}: look for a defect**"
    assert row(written(), "| theirs |")[4] == f"outside {points}"


def test_own_and_generated_images_are_other_runs(tmp_path, written):
    own = {"origin": {"source": "mine, a folder without origin.json"}, "digest": "2"}
    made_up.run(tmp_path / "own", FLAGS, [made_up.line(FLAGS, 95.4, 97, data=own)], data=own)
    synthetic = {**FLAGS, "synthetic": True, "meta_iters": 0}
    made_up.run(tmp_path / "drawn", synthetic, [made_up.line(synthetic, 91, iteration=None)])
    text = written()
    assert CELL not in text
    told = ["own images", "1-shot 5-way", "95.40 ± 0.10", "97.00 ± 0.10", "100,000 of 100,000"]
    assert row(text, "| own |")[1:6] == told
    assert row(text, "| drawn |")[1:6:4] == ["generated images", "0 of 0"]


def test_an_evaluation_of_a_run_of_the_paper_that_fits_no_cell_is_listed(tmp_path, written):
    lines = [95.4, made_up.line({**FLAGS, "shots": 3}, 97)]
    # If the seed was another, the model has seen most of what it is tested on.
    lines.append(made_up.line(FLAGS, 99.9, assumed=["seed"]))
    lines.append(made_up.line({**FLAGS, "seed": 4}, 99.8))
    lines.append(made_up.line(FLAGS, 99.7, iteration=None))  # a checkpoint named best
    made_up.run(tmp_path / "mine", FLAGS, lines)
    text = written()
    assert row(text, "| mine |", "3-shot")[1] == "the paper's"
    told = ["100,000 of 100,000", "10,000", "0 (evaluation: 4)"]
    assert row(text, "| mine |", "99.80")[5:] == told
    assert row(text, "| mine |", "99.70")[5] == "not recorded"
    assert row(text, "| mine |", "99.90")[7] == "0 (flags of the evaluation were assumed)"
    assert text.count("| mine |") == 5 and row(text, CELL)[3] == "**95.40 ± 0.10**"


def test_unfinished_runs_say_how_far_they_are_and_names_cannot_break_their_table(tmp_path, written):
    folder = made_up.run(tmp_path / "x|y\nz", FLAGS)
    made_up.events(folder, range(0, 2001, 500))
    (folder / "seconds.json").write_text('{"training": 130}')
    assert "\n| x\\|y\\nz | 2,001 | 100,000 | 2 min |\n" in written()


def test_the_figures_have_their_tables(tmp_path, written):
    made_up.run(tmp_path / "sum", made_up.flags_of("g1_g2_g3_g4"), [97.5])
    made_up.run(tmp_path / "point", made_up.flags_of("shared_tail_replacement_5x25"), [55])
    text, label = written(), "first-order MAML, shared tail, replacement"
    assert row(text, "| sum |")[:4] == ["g1+g2+g3+g4", "4", "25", "97.50 ± 0.10"]
    assert row(text, "| point |")[:4] == [label, "5", "25", "55.00 ± 0.10"]
    assert "½(g1+g2)" not in text


def test_durations_are_for_people():
    texts = ["not recorded", "12 s", "1 min", "1 h 0 min", "1 h 0 min", "2 h 13 min"]
    assert [document.duration(one) for one in (None, 12.3, 59, 3599, 3600, 7980)] == texts


def test_what_an_earlier_checkpoint_took_is_left_out(tmp_path, written):
    early = made_up.line({**FLAGS, "pretrained": True}, 80, iteration=999)
    made_up.run(tmp_path / "mine", FLAGS, [early])
    assert row(written(), CELL)[8] == "evaluation 10 min"


def test_machines_are_named_for_people(tmp_path, written):
    gpu = {**made_up.MACHINE, "device": "GPU", "gpu": "Counting Frame 2", "gpus": 2, "cores": 4}
    text = "Counting Frame 2 x 2, Abacus 9, 4 cores"
    assert document.machine_text(gpu) == text
    assert document.machine_text({**gpu, "processes": 3}) == f"3 processes on {text} each"
    assert document.machine_text({**gpu, "tf32": True}) == text.replace(" x 2", " x 2, TF32")
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.4, machine=None)], machine=gpu)
    assert row(written(), CELL)[9] == f"training {text}, evaluation not recorded"
