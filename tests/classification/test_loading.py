"""From a name or a folder to a model, in one import."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

import supervised_reptile
from supervised_reptile.system.errors import RefusedError

TOP = pathlib.Path(__file__).parents[2]
O15 = TOP / "experiments" / "models" / "o15"


def test_the_import_is_light_and_loading_is_silent():
    heavy = "{'numpy', 'tensorflow', 'PIL'} & set(sys.modules)"
    code = f"import sys, supervised_reptile; print({heavy}); supervised_reptile.load('o15')"
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr, done.returncode) == ("set()\n", "", 0)


def test_an_included_model_by_name_is_that_in_its_folder():
    by_name = supervised_reptile.load("o15").parameters
    reader = tf.train.load_checkpoint(str(O15 / "model.ckpt-99999"))
    assert by_name and by_name.keys() < reader.get_variable_to_shape_map().keys()
    for name, value in by_name.items():
        assert (value == reader.get_tensor(name)).all()


@pytest.mark.parametrize(
    ("checkpoint", "flags", "reason"),
    [
        ("o16", {}, "o16 is no folder here, and none of the included models: .*o120_seed1, o15"),
        (f"{O15}/model.ckpt-1", {}, "there is no checkpoint, but .*o15 has model.ckpt-99999"),
        ("a[1]", {}, "a.1. is no folder here"),
        (str(O15), {"evil_iters": 3}, "evil_iters is no flag of a model"),
        (str(O15), {"eval_iters": 0}, "--eval-iters: must be at least 1"),
        (str(O15), {"transductive": 3}, "transductive: ignored explicit argument '3'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(checkpoint, flags, reason):
    with pytest.raises(RefusedError, match=reason):
        supervised_reptile.load(checkpoint, **flags)


def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path):
    shutil.copytree(O15, tmp_path / "a[1]")
    with pytest.raises(RefusedError, match=r"--checkpoint: must be .* without"):
        supervised_reptile.load(str(tmp_path / "a[1]"))


@pytest.mark.slow
def test_an_installed_package_has_the_models_of_the_tables_and_the_page(tmp_path):
    for name in ("supervised_reptile", "experiments/models", "experiments/drawings"):
        shutil.copytree(TOP / name, tmp_path / name)
    for name in ("setup.py", "README.md", "run_omniglot.py", "run_miniimagenet.py"):
        shutil.copy(TOP / name, tmp_path)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--target", tmp_path / "there", tmp_path], check=True)
    code = "import supervised_reptile as s; print(s.__file__, s.load('o120').config.run.checkpoint)"
    there = tmp_path / "there"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=there)
    package = there / "supervised_reptile"
    assert done.stdout.split() == [str(package / "__init__.py"), str(package / "models" / "o120")]
    assert {path.suffix for path in package.glob("drawing/page.*")} == {".html", ".css", ".js"}
    assert len(list(package.glob("drawing/examples/*/*.png"))) == 6
