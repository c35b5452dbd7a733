"""Tasks and mini-batches: what is drawn, how often, and in what order."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest

from supervised_reptile import plan
from supervised_reptile.args import Config
from supervised_reptile.learning import sampling
from supervised_reptile.learning.sampling import Draws, Population, Purpose
from supervised_reptile.system.errors import RefusedError


def config(**flags):
    return Config.of("omniglot", flags)


def assert_uniform(outcomes, possible):
    """Chi-square: this large a deviation has a probability of about 1e-5 if all are equal."""
    counts = collections.Counter(outcomes)
    assert set(counts) <= set(possible)
    expected = len(outcomes) / len(possible)
    statistic = sum((counts[outcome] - expected) ** 2 for outcome in possible) / expected
    freedom = len(possible) - 1
    assert statistic < freedom + 4.3 * np.sqrt(2 * freedom) + 6


@pytest.fixture
def population():
    """Six classes of 7, 5, 7, 4, 7, 7 images; the first is number 70, a class begins every 7."""
    return Population(np.array([7, 5, 7, 4, 7, 7]), first=np.arange(70, 112, 7))


def classes_of(indices):
    return (np.asarray(indices) - 70) // 7


def test_distinct_draws_are_uniform_over_all_ordered_draws_without_repeats():
    drawn = sampling.distinct(np.random.default_rng(0).random((60_000, 3)), 5)
    assert_uniform(list(map(tuple, drawn.tolist())), list(itertools.permutations(range(5), 3)))


def test_every_value_can_be_drawn_when_as_many_are_wanted_as_there_are():
    drawn = sampling.distinct(np.random.default_rng(1).random((50, 9)), 9)
    assert (np.sort(drawn, axis=-1) == np.arange(9)).all()


def test_the_streams_are_philoxs_of_the_seed_the_purpose_and_the_iteration():
    """As NumPy numbers them: a run that is resumed by a later version goes on with its draws."""
    names = (
        "INITIAL_VALUES TRAINING INTERVAL_TRAIN INTERVAL_VAL INTERVAL_TEST FINAL_TRAIN FINAL_VAL"
    )
    assert [one.name for one in Purpose] == [*names.split(), "FINAL_TEST", "CLASSIFYING"]
    assert [int(one) for one in Purpose] == [*range(9)]
    found = Draws(3, Purpose.FINAL_TEST, [0, 7]).uniform(2, 200)
    for numbers, iteration in zip(found, (0, 7)):
        stream = np.random.Philox(key=3 + (7 << 64), counter=iteration << 192)
        assert (numbers == np.random.Generator(stream).random((2, 200))).all()


def test_no_two_streams_have_a_number_in_common():
    streams = [(3, Purpose.TRAINING), (4, Purpose.TRAINING), (3, Purpose.FINAL_TEST)]
    numbers = [Draws(*stream, [7, 8, 9]).uniform(400) for stream in streams]
    assert len(np.unique(numbers)) == 3 * 3 * 400


def test_classes_and_images_of_tasks_are_uniform_and_without_repeats(population):
    draws = Draws(0, Purpose.TRAINING, range(20_000))
    images = sampling.draw_images(population, 1, 2, 2, draws)[:, 0]
    classes = classes_of(images)
    assert (classes == classes[..., :1]).all()
    assert_uniform(
        list(map(tuple, classes[..., 0].tolist())), list(itertools.permutations(range(6), 2))
    )
    for number, count in enumerate(population.counts):
        of_class = images[classes[..., 0] == number] - 70 - 7 * number
        pairs = list(map(tuple, of_class.tolist()))
        assert_uniform(pairs, list(itertools.permutations(range(count), 2)))


def test_labels_are_positions_of_classes_in_the_task(population):
    settings = config(classes=4, train_shots=3, inner_batch=5, inner_iters=6, meta_batch=2)
    batches = sampling.training_tasks(settings, population, range(50)).batches
    assert batches.indices.shape == (50, 2, 6, 5)
    for indices, labels in zip(batches.indices.reshape(100, -1), batches.labels.reshape(100, -1)):
        # 30 images of a set of 12: every class occurs, and keeps one label throughout.
        assert len(set(zip(classes_of(indices).tolist(), labels.tolist()))) == 4
        assert set(labels.tolist()) == {0, 1, 2, 3}


def test_labels_do_not_follow_the_order_of_classes(population):
    settings = config(classes=2, train_shots=1, inner_batch=2, inner_iters=1)
    batches = sampling.training_tasks(settings, population, range(2000)).batches
    order = np.argsort(batches.labels[:, 0, 0], axis=-1)
    classes = classes_of(np.take_along_axis(batches.indices[:, 0, 0], order, axis=-1))
    assert abs(np.mean(classes[:, 0] < classes[:, 1]) - 0.5) < 0.05


def test_batches_walk_through_shuffles_and_straddle_them(population):
    settings = config(classes=3, train_shots=4, inner_batch=5, inner_iters=7)
    batches = sampling.training_tasks(settings, population, range(30)).batches
    for indices in batches.indices[:, 0].reshape(30, 35):
        passes = [indices[:12], indices[12:24], indices[24:]]
        # Batches of 5 from a set of 12: the third straddles the first two passes.
        assert set(passes[0]) == set(passes[1]) >= set(passes[2])
        assert len(set(passes[0])) == 12 and len(set(passes[2])) == 11
    firsts, seconds = batches.indices[:, 0, :2], batches.indices[:, 0, 2:4]
    assert (firsts != seconds).any()


def test_a_batch_larger_than_the_set_repeats_it(population):
    settings = config(classes=2, train_shots=1, inner_batch=5, inner_iters=2)
    indices = sampling.training_tasks(settings, population, [0]).batches.indices[0, 0].ravel()
    assert all(len(set(indices[start : start + 2].tolist())) == 2 for start in range(0, 10, 2))


def test_shuffles_are_uniform_and_independent(population):
    settings = config(classes=2, train_shots=2, inner_batch=4, inner_iters=2)
    indices = sampling.training_tasks(settings, population, range(12_000)).batches.indices[:, 0]
    places = np.argsort(np.argsort(indices, axis=-1), axis=-1)
    orders = list(itertools.permutations(range(4)))
    assert_uniform(list(map(tuple, places[:, 0].tolist())), orders)
    # Where the second pass begins does not depend on where the first one ended.
    both = list(zip(places[:, 0, -1].tolist(), places[:, 1, 0].tolist()))
    assert_uniform(both, list(itertools.product(range(4), repeat=2)))


def test_replacement_draws_every_batch_afresh(population):
    settings = config(classes=2, train_shots=2, inner_batch=2, inner_iters=3, replacement=True)
    indices = sampling.training_tasks(settings, population, range(12_000)).batches.indices[:, 0]
    assert (indices[..., 0] != indices[..., 1]).all()
    sets = np.sort(indices.reshape(len(indices), -1), axis=-1)
    whole = np.array([len(set(row)) == 4 for row in sets.tolist()])
    # A cycle of two batches would show all four images always; three fresh draws do so with
    # probability 1 - P(some image is missing): 4 (1/2)^3 - 6 (1/6)^3 by inclusion and exclusion.
    assert abs(whole.mean() - (1 - (4 / 8 - 6 / 216))) < 0.02
    ascending = indices[..., 0] < indices[..., 1]
    assert abs(ascending.mean() - 0.5) < 0.02


def test_the_shared_tail_is_the_last_batch_of_the_same_walk(population):
    flags = dict(classes=3, train_shots=3, inner_batch=4, inner_iters=5)
    plain = sampling.training_tasks(config(**flags), population, range(4))
    foml = sampling.training_tasks(config(**flags, foml=True), population, range(4))
    assert plain.last == ()
    for part in range(2):
        walk = np.concatenate([foml.batches[part], foml.last[part]], axis=2)
        assert (walk == plain.batches[part]).all()


def test_the_separate_tail_is_set_aside_from_the_other_batches(population):
    settings = config(
        classes=3, train_shots=4, inner_batch=5, inner_iters=4, foml=True, foml_tail=2, meta_batch=2
    )
    tasks = sampling.training_tasks(settings, population, range(20))
    assert tasks.batches.indices.shape == (20, 2, 3, 5)
    assert tasks.last.indices.shape == (20, 2, 1, 6)
    for i, j in itertools.product(range(20), range(2)):
        tail, rest = tasks.last.indices[i, j, 0], tasks.batches.indices[i, j].ravel()
        assert len(set(tail)) == 6 and not set(tail) & set(rest)
        assert tasks.last.labels[i, j, 0].tolist() == [0, 0, 1, 1, 2, 2]
        label = dict(zip(classes_of(rest).tolist(), tasks.batches.labels[i, j].ravel().tolist()))
        assert [label[c] for c in classes_of(tail).tolist()] == [0, 0, 1, 1, 2, 2]


def test_with_one_inner_iteration_only_the_separate_tail_is_used(population):
    settings = config(classes=3, train_shots=4, inner_iters=1, foml=True, foml_tail=1)
    tasks = sampling.training_tasks(settings, population, range(3))
    assert tasks.batches.indices.size == 0
    assert tasks.last.indices.shape == (3, 1, 1, 3)


@pytest.mark.parametrize("transductive", [True, False])
def test_queries_are_not_in_the_support_set(population, transductive):
    settings = config(
        classes=3,
        shots=2,
        eval_iters=5,
        eval_batch=4,
        transductive=transductive,
        foml=True,
        train_shots=3,
        foml_tail=1,
    )
    tasks = sampling.evaluation_tasks(settings, population, Purpose.FINAL_TEST, range(40))
    assert tasks.batches.indices.shape == (40, 5, 4)
    for indices, labels, passes in zip(tasks.batches.indices, tasks.batches.labels, tasks.queries):
        support = set(indices.ravel().tolist())
        queries = passes[0] if transductive else passes[:, -1]
        assert len(support) == 6 and len(set(queries.tolist()) - support) == 3
        label = dict(zip(classes_of(indices).ravel().tolist(), labels.ravel().tolist()))
        assert [label[c] for c in classes_of(queries).tolist()] == [0, 1, 2]
        if not transductive:
            assert all(set(one[:-1].tolist()) == support for one in passes)
            assert passes.shape == (3, 7)


def test_replacement_holds_in_evaluations_too(population):
    settings = config(classes=2, shots=2, eval_batch=2, eval_iters=2, replacement=True)
    tasks = sampling.evaluation_tasks(settings, population, Purpose.FINAL_TEST, range(40))
    assert {len(set(one.ravel().tolist())) for one in tasks.batches.indices} == {2, 3, 4}


def test_each_set_is_evaluated_on_its_own_draws(population):
    settings = config(classes=3, shots=1)
    first, second = (
        sampling.evaluation_tasks(settings, population, purpose, [0]).batches.indices
        for purpose in (Purpose.FINAL_TRAIN, Purpose.FINAL_TEST)
    )
    assert (first != second).any()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"classes": 8, "shots": 1}, "the val set has only 7 classes"),
        ({"shots": 5}, r"class9 \(val set\) has 5"),
        ({"shots": 1, "train_shots": 9}, r"--train-shots 9 need 9 .* class2 \(train set\) has 8"),
    ],
)
def test_tasks_that_the_data_cannot_fill_are_refused(image_set, flags, reason):
    counts = np.full(25, 20)
    counts[2], counts[9] = 8, 5
    images = image_set({"train": 9, "val": 7, "test": 9}, shots=20, size=4)
    images = dataclasses.replace(images, counts=counts)
    with pytest.raises(RefusedError, match=reason):
        plan.check_data(config(**flags), images)


def test_turned_classes_make_tasks_but_are_not_called_classes(image_set):
    images = image_set({"train": 8, "test": 9}, shots=20, size=4)
    images = dataclasses.replace(images, rotations=4)
    plan.check_data(config(classes=8), images)
    with pytest.raises(RefusedError, match="train set has only 2 classes, each in 4 rotations: "):
        plan.check_data(config(classes=9), images)


def test_tasks_that_the_data_can_just_fill_are_accepted(image_set):
    images = image_set({"train": 5, "test": 5}, shots=6, size=4)
    plan.check_data(config(shots=5, train_shots=6), images)
    # An evaluation does not train, so that the training shots do not matter.
    plan.check_data(config(pretrained=True, shots=5, train_shots=60), images)


def test_of_sets_that_are_not_evaluated_nothing_is_asked(image_set):
    images = image_set({"train": 4, "test": 5}, shots=6, size=4)
    plan.check_data(config(pretrained=True, eval_sets="test"), images)
    with pytest.raises(RefusedError, match="the train set has only 4"):
        plan.check_data(config(pretrained=True), images)
    images = dataclasses.replace(images, splits={"test": range(5)})
    with pytest.raises(RefusedError, match="--eval-sets train: the images have no such set, but"):
        plan.check_data(config(pretrained=True, eval_sets="train"), images)
