"""Which device computes: what is asked for, what is there, what is said."""

import dataclasses
import os
from unittest import mock

import pytest
import tensorflow as tf

from supervised_reptile.args import Computing
from supervised_reptile.devices import choice
from supervised_reptile.devices.choice import Card, Devices
from supervised_reptile.system import machine
from supervised_reptile.system.errors import RefusedError

H100 = Card("NVIDIA H100", "570.1", 80 * 2**30)


@pytest.fixture
def gpus(monkeypatch):
    """A function that makes TensorFlow and the driver know so many GPUs; returns its stand-in."""

    def make(usable, cards):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setenv("XLA_FLAGS", "--own")
        config = mock.MagicMock()
        config.list_physical_devices.return_value = [f"physical {index}" for index in range(usable)]
        details = config.experimental.get_device_details
        details.side_effect = lambda gpu: {"device_name": f"model of {gpu}"}
        monkeypatch.setattr(tf, "config", config)
        monkeypatch.setattr(choice, "cards_there", lambda: (H100,) * cards)
        return config

    return make


@pytest.mark.parametrize(("asked", "used"), [("auto", 0), ("gpu", 0), ("gpu:1", 1)])
def test_one_gpu_is_used_and_no_other_is_seen(gpus, asked, used):
    config = gpus(usable=2, cards=2)
    devices = choice.choose(Computing(device=asked))
    config.set_visible_devices.assert_called_once_with([f"physical {used}"], "GPU")
    config.experimental.set_memory_growth.assert_called_once_with(f"physical {used}", True)
    config.experimental.enable_tensor_float_32_execution.assert_called_once_with(False)
    assert devices.kind == "GPU" and devices.names == ("/GPU:0",)
    assert str(devices) == f"on 1 GPU, model of physical {used}, float32, TF32 off"
    described = {"gpu": f"model of physical {used}", "gpus": 1, "driver": "570.1", "tf32": False}
    assert devices.describe() == Devices().describe() | {"device": "GPU"} | described


def test_all_gpus_are_used_to_share_tasks_and_tf32_is_on_if_asked_for(gpus):
    config = gpus(usable=2, cards=2)
    devices = choice.choose(Computing(distribute=True, tf32=True))
    assert devices.names == ("/GPU:0", "/GPU:1")
    config.experimental.enable_tensor_float_32_execution.assert_called_once_with(True)
    assert str(devices) == "on 2 GPUs, model of physical 0, model of physical 1, float32, TF32 on"


def test_tensorflow_is_imported_with_onednn_on_every_processor(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with choice.quiet():
        assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_xla_does_not_time_kernels_on_a_gpu_unless_the_user_says_so(gpus):
    gpus(usable=1, cards=1)
    choice.choose(Computing(device="cpu"))
    assert os.environ["XLA_FLAGS"] == "--own"
    choice.choose(Computing())
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true --own"
    os.environ["XLA_FLAGS"] = "flags.txt"  # a file, which XLA reads
    choice.choose(Computing())
    assert os.environ["XLA_FLAGS"] == "flags.txt"


def test_the_cpu_is_used_if_it_is_asked_for(gpus, monkeypatch, capsys):
    config = gpus(usable=2, cards=2)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    choice.announce(choice.choose(Computing(device="cpu")))
    config.set_visible_devices.assert_called_once_with([], "GPU")
    assert capsys.readouterr().err == "Computing on the CPU, 8 cores\n"


def test_a_gpu_that_tensorflow_cannot_use_is_named_with_what_to_install(gpus, capsys):
    gpus(usable=0, cards=1)
    choice.announce(choice.choose(Computing()))
    line = capsys.readouterr().err
    assert line.startswith("Computing on the CPU, ") and line.count("\n") == 1
    assert "NVIDIA H100" in line and "pip install 'supervised-reptile[gpu]'" in line


@pytest.mark.parametrize(
    ("asked", "usable", "cards", "message"),
    [
        ({"device": "gpu"}, 0, 1, r"--device gpu: .*NVIDIA H100.*supervised-reptile\[gpu\]"),
        ({"device": "gpu:0"}, 0, 0, "--device gpu:0: no NVIDIA driver"),
        ({"device": "gpu:2"}, 2, 2, "--device gpu:2: .*gpu:0 to gpu:1"),
        ({"tf32": True}, 0, 0, "--tf32 is for GPUs"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(gpus, asked, usable, cards, message):
    gpus(usable, cards)
    with pytest.raises(RefusedError, match=message):
        choice.choose(Computing(**asked))


@pytest.mark.parametrize("value", ["", "-1"])
def test_gpus_that_somebody_has_hidden_are_no_complaint(gpus, monkeypatch, capsys, value):
    gpus(usable=0, cards=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    choice.announce(choice.choose(Computing()))
    assert "NVIDIA" not in capsys.readouterr().err
    with pytest.raises(RefusedError, match="or CUDA_VISIBLE_DEVICES hides all"):
        choice.choose(Computing(device="gpu"))


def test_what_the_driver_says_is_read(monkeypatch, tmp_path):
    """A stand-in for NVIDIA's command; the second GPU shares the machine's memory."""
    command = tmp_path / "nvidia-smi"
    command.write_text(
        "#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 570.124.06, 81559'\n"
        "echo 'NVIDIA GB10, 580.1, [N/A]'\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert choice.cards_there() == (
        Card("NVIDIA H100 80GB HBM3", "570.124.06", 81559 * 2**20),
        Card("NVIDIA GB10", "580.1", choice.GPU_MEMORY),
    )
    command.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert choice.cards_there() == ()
    command.unlink()
    assert choice.cards_there() == ()


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [(1, 1, 2), (2, 1, 3), (64, 1, 65), (64, 2**30, 1), (64, 2**29, 2), (64, 2**31, 1)],
)
def test_a_call_more_than_cores_if_their_memory_is_there(monkeypatch, cores, memory, expected):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    assert Devices().calls_at_once(memory) == expected
    assert Devices().tasks_at_once(memory) == 1


@pytest.mark.parametrize(("memory", "expected"), [(1, 512), (2**30, 5), (2**40, 1)])
def test_tasks_of_a_call_on_a_gpu_fit_into_its_memory(memory, expected):
    devices = Devices("GPU", ("/GPU:0", "/GPU:1"), "one", (H100,))
    assert devices.tasks_at_once(memory) == expected
    assert devices.calls_at_once(memory) == 3
    smaller = dataclasses.replace(devices, cards=(H100, H100._replace(memory=2**30)))
    assert smaller.tasks_at_once(2**24) == 4
