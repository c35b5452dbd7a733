"""The report says what runs gave; nothing shortened or of other images looks like the paper's."""

import made_up
import pytest

from supervised_reptile.report import document, tables
from supervised_reptile.report.reading import read_runs
from supervised_reptile.system.errors import RefusedError

O15 = made_up.CELL["o15"].setting
FLAGS = made_up.flags_of(O15)
G1_4 = {"sgd": True, "inner_batch": 25, "learning_rate": 0.003, "meta_step_final": 0}
G1_4 |= {"inner_iters": 4, "train_shots": 20, "meta_step": 0.25, "meta_batch": 1, "shots": 5}
G1_4 = {**FLAGS, **G1_4, "meta_iters": 40_000, "eval_batch": 25, "eval_iters": 5}


def row(text, *words):
    """The cells of the only line of a table that holds all these words."""
    (found,) = [
        line for line in text.splitlines() if line[:1] == "|" and all(w in line for w in words)
    ]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_complete_run_stands_beside_the_paper(tmp_path):
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.41, 97.7)])
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| o15 |") == [
        *("Omniglot 1-shot 5-way", "o15", "95.39 ± 0.09", "95.20 – 95.56"),
        *("95.41 ± 0.10", "inside the replications' range", "100,000", "10,000", "0"),
        *("training 2 h 0 min, evaluation 10 min", "Abacus 9, 1 core"),
        *("training not recorded, evaluated at 0123456", "mine"),
    ]
    assert row(text, "| o15t |")[4] == "97.70 ± 0.10"
    assert row(text, "| o55 |")[4:] == [""] * 9  # there is none


def test_the_readme_has_a_row_for_each_cell(tmp_path):
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.41)])
    text = document.section(read_runs(tmp_path))
    assert text.count("\n") == 1 + 2 + 12 + 1
    assert row(text, "Omniglot 1-shot 5-way |")[3:] == [
        "**95.41 ± 0.10**",
        "inside the replications' range",
    ]
    assert row(text, "Omniglot 5-shot 20-way |")[3:] == ["", ""]


def test_a_run_far_outside_is_loud(tmp_path):
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 94.5)])
    runs = read_runs(tmp_path)
    for text in (document.write(runs, []), document.section(runs)):
        assert "**OUTSIDE the replications' range by 0.70 points: look for a defect**" in text


def test_a_shortened_run_is_marked_wherever_it_stands(tmp_path):
    flags = {**FLAGS, "meta_iters": 1500}
    made_up.run(tmp_path / "short", flags, [made_up.line(flags, 95.4)])
    runs = read_runs(tmp_path)
    cells = row(document.write(runs, []), "| o15 |")
    assert cells[4:7] == [
        *("95.40 ± 0.10 (shortened)", "none: shortened", "**shortened:** 1,500 of 100,000")
    ]
    cells = row(document.section(runs), "Omniglot 1-shot 5-way |")
    assert cells[3] == "95.40 ± 0.10 (**shortened:** 1,500 of 100,000)"
    assert cells[4] == "none: shortened"


def test_a_complete_run_comes_before_a_shortened_one(tmp_path):
    short = {**FLAGS, "meta_iters": 1500}
    made_up.run(tmp_path / "a", short, [made_up.line(short, 80)])
    made_up.run(tmp_path / "b", FLAGS, [made_up.line(FLAGS, 95.4)])
    runs = read_runs(tmp_path)
    assert row(document.section(runs), "Omniglot 1-shot 5-way |")[3] == "**95.40 ± 0.10**"
    scores = [line for line in document.write(runs, []).splitlines() if "| o15 |" in line]
    assert ["(shortened)" in line for line in scores] == [False, True]


def test_few_tasks_are_named(tmp_path):
    flags = {**FLAGS, "eval_samples": 500}
    made_up.run(tmp_path / "mine", flags, [made_up.line(flags, 94.5)])
    runs = read_runs(tmp_path)
    cells = row(document.section(runs), "Omniglot 1-shot 5-way |")
    assert cells[3] == "**94.50 ± 0.10 (500 tasks)**"
    assert cells[4] == "outside the replications' range by 0.70 points"
    assert row(document.write(runs, []), "| o15 |")[7] == "500"


def test_two_seeds_have_each_a_row_and_a_mean(tmp_path):
    for seed, percent in ((0, 95.2), (1, 95.6)):
        flags = {**FLAGS, "seed": seed}
        made_up.run(tmp_path / f"seed{seed}", flags, [made_up.line(flags, percent)])
    runs = read_runs(tmp_path)
    text = document.write(runs, [])
    assert row(text, "| seed0 |")[4:6] == ["95.20 ± 0.10", "inside the replications' range"]
    assert row(text, "| seed1 |")[5] == "outside the replications' range by 0.04 points"
    mean = "95.40 ± 0.07 (2 seeds: 95.20 – 95.60)"
    assert row(text, "| o15 |", "2 seeds")[4:6] == [mean, "inside the replications' range"]
    assert row(document.section(runs), "Omniglot 1-shot 5-way |")[3] == f"**{mean}**"


def test_own_and_generated_images_are_other_runs(tmp_path):
    own = {"origin": {"source": "mine, a folder without origin.json"}, "digest": "2"}
    made_up.run(tmp_path / "own", FLAGS, [made_up.line(FLAGS, 95.4, 97, data=own)], data=own)
    synthetic = {**FLAGS, "synthetic": True, "meta_iters": 0}
    made_up.run(tmp_path / "drawn", synthetic, [made_up.line(synthetic, 91, iteration=None)])
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| o15 |")[4] == ""
    assert row(text, "| own |")[:6] == [
        *("own", "own images", "1-shot 5-way", "95.40 ± 0.10", "97.00 ± 0.10"),
        "100,000 of 100,000",
    ]
    assert row(text, "| drawn |")[1:6:4] == ["generated images", "0 of 0"]


def test_an_evaluation_of_a_run_of_the_paper_that_fits_no_cell_is_listed(tmp_path):
    line = made_up.line({**FLAGS, "pretrained": True, "shots": 3}, 97)
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.4), line])
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| mine |", "3-shot")[1] == "the paper's"
    assert text.count("| mine |") == 2


def test_unfinished_runs_say_how_far_they_are(tmp_path):
    folder = made_up.run(tmp_path / "mine", FLAGS)
    made_up.events(folder, range(0, 2001, 500))
    (folder / "seconds.json").write_text('{"training": 130}')
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| mine |") == ["mine", "2,001", "100,000", "2 min", "0"]


def test_the_combinations_are_labelled_as_in_the_paper(tmp_path):
    made_up.run(tmp_path / "mine", G1_4, [made_up.line(G1_4, 97.5)])
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| g1+g2+g3+g4 |")[1] == "97.50 ± 0.10"
    assert row(text, "| ½(g1+g2) |")[1] == ""
    assert "Section 6.3" not in text


def test_curves_of_the_same_training_are_compared(tmp_path):
    for name, step in (("sparse", 100), ("dense", 10)):
        flags = {**G1_4, "eval_interval": step}
        folder = made_up.run(tmp_path / name, flags, [made_up.line(flags, 97.5)])
        made_up.events(folder, range(0, 10_001, step))
    text = document.write(read_runs(tmp_path), [])
    assert "`sparse` (101 evaluations) and `dense` (1,001 evaluations) differ by at most" in text
    assert "Of 101 meta-iterations that both evaluated, 0 have another accuracy." in text


def test_a_point_of_the_overlap_is_found(tmp_path):
    flags = {**G1_4, "meta_iters": 10_000, "inner_iters": 5, "foml": True, "replacement": True}
    made_up.run(tmp_path / "mine", flags, [made_up.line(flags, 55)])
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| mine |")[:4] == [
        *("first-order MAML, shared tail, replacement", "5", "25", "55.00 ± 0.10")
    ]


def test_an_empty_folder_has_an_empty_table(tmp_path):
    text = document.write(read_runs(tmp_path), [])
    assert "There are no runs in this folder." in text
    assert text.count("| ± |") == 0 and row(text, "| m55t |")[4] == ""


def test_names_cannot_break_a_table():
    text = tables.table(["a"], [["x|y\nz"]])
    assert text == "| a |\n| --- |\n| x\\|y\\nz |\n"


def test_durations_are_for_people():
    times = [None, 12.3, 59, 3599, 3600, 7980]
    assert [tables.duration(seconds) for seconds in times] == [
        *("not recorded", "12 s", "1 min", "1 h 0 min", "1 h 0 min", "2 h 13 min")
    ]


def test_hardware_names_both_places():
    assert tables.hardware_text({}, {}) == "not recorded"
    gpu = {**made_up.MACHINE, "device": "GPU", "cores": 4}
    assert tables.hardware_text(made_up.MACHINE, gpu) == (
        "Abacus 9, 1 core, evaluated on GPU, Abacus 9, 4 cores"
    )
    assert tables.hardware_text(gpu, gpu) == "GPU, Abacus 9, 4 cores"
    gpu = {**gpu, "gpu": "Counting Frame 2", "gpus": 2, "processes": 3}
    assert tables.hardware_text(gpu, gpu) == (
        "3 processes on Counting Frame 2 x 2, Abacus 9, 4 cores each"
    )


def test_hardware_that_is_not_recorded_is_not_made_up():
    machine, text = made_up.MACHINE, "Abacus 9, 1 core"
    assert tables.hardware_text({}, machine) == (
        f"training machine not recorded, evaluated on {text}"
    )
    assert tables.hardware_text(machine, {}) == f"{text}, evaluation machine not recorded"


def test_commits_are_those_of_training_and_evaluation():
    one, other = "0123456789abcdef-changed", "fedcba9876543210"
    assert tables.commit_text(None, None) == "not recorded"
    assert tables.commit_text(one, one) == "0123456-changed"
    assert tables.commit_text(one, other) == "trained at 0123456-changed, evaluated at fedcba9"
    assert tables.commit_text(None, other) == "training not recorded, evaluated at fedcba9"
    assert tables.commit_text(one, None) == "trained at 0123456-changed, evaluation not recorded"


def test_the_commit_of_training_is_shown(tmp_path):
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.41)], commit="abcdef012345")
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| o15 |")[11] == "trained at abcdef0, evaluated at 0123456"


def test_training_costs_what_the_evaluated_training_took(tmp_path):
    folder = made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.41)])
    (folder / "seconds.json").write_text('{"training": 60}')
    text = document.write(read_runs(tmp_path), [])
    assert row(text, "| o15 |")[9] == "training 2 h 0 min, evaluation 10 min"


def test_what_an_earlier_checkpoint_took_is_left_out(tmp_path):
    early = made_up.line({**FLAGS, "pretrained": True}, 80, iteration=999)
    made_up.run(tmp_path / "mine", FLAGS, [early])
    runs = read_runs(tmp_path)
    assert row(document.write(runs, []), "| o15 |")[9] == "evaluation 10 min"


def test_a_second_seed_with_few_tasks_leaves_the_alarm_on(tmp_path):
    for seed, percent, tasks in ((0, 90, 10_000), (1, 95.4, 100)):
        flags = {**FLAGS, "seed": seed, "eval_samples": tasks}
        made_up.run(tmp_path / f"seed{seed}", flags, [made_up.line(flags, percent)])
    runs = read_runs(tmp_path)
    cells = row(document.section(runs), "Omniglot 1-shot 5-way |")
    text = "90.00 ± 0.10 (seed 0: 10,000 tasks, seed 1: 100 tasks, left out)"
    assert cells[3] == f"**{text}**"
    alarm = "**OUTSIDE the replications' range by 5.20 points: look for a defect**"
    assert cells[4] == alarm
    assert row(document.write(runs, []), "| seed0 |")[5] == alarm


def test_two_copies_of_miniimagenet_have_rows_of_their_own(tmp_path):
    for seed, pixels in enumerate("ab"):
        flags = made_up.flags_of(made_up.CELL["m15"].setting, seed=seed)
        data = {"origin": {"digest": "files"}, "digest": pixels}
        line = made_up.line(flags, 47, data=data)
        made_up.run(tmp_path / str(seed), flags, [line], data=data, dataset="miniimagenet")
    runs = read_runs(tmp_path)
    text = document.section(runs)
    assert row(text, "miniImageNet 1-shot 5-way, another copy of the images |")[3] == (
        "**47.00 ± 0.10**"
    )
    assert "2 seeds" not in document.write(runs, [])


def test_ready_made_images_are_marked(tmp_path):
    cell = made_up.CELL["m15"]
    for name, packaging, iterations in (
        ("ours", "ILSVRC2012_img_train, unpacked", 100_000),
        ("theirs", "pickles", 100_000),
        ("short", "pickles", 1000),
    ):
        flags = made_up.flags_of(cell.setting, meta_iters=iterations)
        data = {"origin": {"digest": "files", "packaging": packaging}, "digest": packaging}
        lines = [made_up.line(flags, 47, data=data)]
        made_up.run(tmp_path / name, flags, lines, data=data, dataset="miniimagenet")
    runs = read_runs(tmp_path)
    text, mark = document.write(runs, []), "(ready-made images)"
    scores = {name: row(text, f"| {name} |")[4] for name in ("ours", "theirs", "short")}
    assert scores == {
        "ours": "47.00 ± 0.10",
        "theirs": f"47.00 ± 0.10 {mark}",
        "short": f"47.00 ± 0.10 (shortened) {mark}",
    }
    other = row(document.section(runs), "miniImageNet 1-shot 5-way, another copy")
    assert other[3] == f"**47.00 ± 0.10 {mark}**"
    short = [run for run in runs if run.name == "short"]
    assert row(document.section(short), "miniImageNet 1-shot 5-way |")[3].endswith(mark)


README = "# Mine\n\n<!-- results -->\nold\n<!-- end of results -->\n\nrest\n"


def test_only_what_is_between_the_marks_of_the_readme_changes(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README)
    text = document.replaced(path, [])
    assert text.startswith("# Mine\n\n<!-- results -->\n\n| setting |")
    assert text.endswith("|\n\n<!-- end of results -->\n\nrest\n")
    path.write_text(text)
    assert document.replaced(path, []) == text


@pytest.mark.parametrize("text", ["", "<!-- results -->\n", "<!-- end of results -->\n"])
def test_a_readme_without_marks_is_refused(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(RefusedError, match="no place for the results"):
        document.replaced(path, [])
    with pytest.raises(RefusedError, match="cannot be read"):
        document.replaced(tmp_path / "nowhere", [])
