"""Which processes share a run, as the environment says it."""

import json

import pytest

from supervised_reptile.devices import cluster
from supervised_reptile.system.errors import RefusedError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing is described; returns a function that sets variables."""
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"):
        monkeypatch.setenv(name, "")  # so that it is restored, whoever sets it
        monkeypatch.delenv(name)

    def describe(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value if isinstance(value, str) else json.dumps(value))

    return describe


def config(index, kind="worker", **jobs):
    return {
        "cluster": jobs or {"worker": ["a:1", "b:1", "c:1"]},
        "task": {"type": kind, "index": index},
    }


def test_without_a_description_a_process_is_alone():
    assert cluster.find() == (0, 1) and cluster.process() == 0


@pytest.mark.parametrize("index", range(3))
def test_tf_config_numbers_the_processes(environment, index):
    environment(TF_CONFIG=config(index))
    assert cluster.find() == (index, 3) and cluster.process() == index


@pytest.mark.parametrize(("kind", "index", "number"), [("chief", 0, 0), ("worker", 1, 2)])
def test_a_chief_is_the_first_process(environment, kind, index, number):
    environment(TF_CONFIG=config(index, kind, chief=["a:1"], worker=["b:1", "c:1"]))
    assert cluster.find() == (number, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "{",
        "[]",
        {"cluster": {"worker": ["a:1"]}},
        config(3),
        config(-1),
        config(0, "ps"),
        config(0, worker=["a:1", "b:1"], ps=["c:1"]),
    ],
)
def test_what_makes_no_sense_is_refused_with_an_example(environment, wrong):
    environment(TF_CONFIG=wrong)
    with pytest.raises(RefusedError, match=r'TF_CONFIG is not of the form \{"cluster"'):
        cluster.find()
    assert cluster.process() == 0


def slurm(rank, nodes, name):
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURMD_NODENAME": name,
    }


@pytest.mark.parametrize(("rank", "node"), [(0, "n1"), (1, "n1"), (2, "n2"), (3, "n2")])
def test_slurms_variables_describe_the_processes(environment, rank, node):
    environment(**slurm(rank, "n[1-2]", node))
    assert cluster.process() == rank
    assert cluster.find() == (rank, 4)
    content = json.loads(cluster.os.environ["TF_CONFIG"])
    assert content["cluster"] == {"worker": ["n1:8888", "n1:8889", "n2:8888", "n2:8889"]}
    assert content["task"] == {"type": "worker", "index": rank}


def test_nodes_that_tensorflow_sorts_otherwise_are_refused(environment):
    environment(**slurm(0, "n[9-10]", "n9"))
    with pytest.raises(RefusedError, match=r"is on n9, but TensorFlow.* expects it on n10"):
        cluster.find()


def test_one_process_under_slurm_is_alone(environment):
    environment(SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0")
    assert cluster.find() == (0, 1)


def test_incomplete_variables_are_refused(environment):
    environment(SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="0")
    with pytest.raises(RefusedError, match="SLURM's variables describe no cluster"):
        cluster.find()
