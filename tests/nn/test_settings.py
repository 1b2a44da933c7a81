"""The user's own environment: Keras's settings are made before its first import, or what stands in the way is told."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.nn import settings
from pipeline.stages import folds
from pipeline.store.artifacts import Store
from tests.builders import fabricated, stage_outputs

ROOT = Path(__file__).parents[2]
ASKED = """
import logging
logging.basicConfig(format="%(message)s")
from pipeline.nn import runtime
import keras
config = keras.config
print(config.backend(), config.image_data_format(), config.floatx(), config.epsilon(), config.max_epochs(),
      config.max_steps_per_epoch(), config.is_nnx_enabled())
"""
STRANGE = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1, "nnx_enabled": True}
OURS = "tensorflow channels_last float32 1e-07 None None False\n"


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess:
    """A process of its own with these variables, of which empty ones are taken away."""
    kept = {name: value for name, value in (os.environ | environment).items() if value != "(none)"}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=300)


def keras_json(folder: Path, content: str) -> str:
    """KERAS_HOME of a user whose keras.json holds this."""
    (folder / "keras.json").write_text(content)
    return str(folder)


@pytest.mark.parametrize(("asked", "name", "there"), [("torch", "PyTorch", False), ("jax", "JAX", True)])
def test_what_the_pipeline_needs_of_keras_it_sets_itself(tmp_path, asked, name, there):
    if bool(find_spec(asked)) != there:
        pytest.skip(f"{name} is {'missing' if there else 'installed'} here")
    home = keras_json(tmp_path, json.dumps(STRANGE | {"backend": asked}))
    limits = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "abc", "KERAS_NNX_ENABLED": "1"}
    made = run(["-c", ASKED], KERAS_HOME=home, KERAS_BACKEND="(none)", **limits)
    assert made.stdout == (OURS.replace("tensorflow", asked) if there else OURS), made.stderr
    missing = f"{home}/keras.json asks for {name}, which is not installed here: Keras runs on TensorFlow\n"
    assert made.stderr == ("" if there else missing)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Chooses which packages are there, with no keras.json."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)

    def only(*names: str) -> None:
        monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: name if name in names else None)

    return only


@pytest.mark.parametrize(
    ("packages", "variable", "file", "expected"),
    [
        (("tensorflow",), None, None, "tensorflow"),
        (("tensorflow",), "", None, "tensorflow"),
        (("tensorflow",), "jax", None, "tensorflow"),
        (("tensorflow", "jax"), "jax", None, "jax"),
        (("tensorflow", "torch"), None, '{"backend": "torch"}', "torch"),
        (("tensorflow", "torch"), "tensorflow", '{"backend": "torch"}', "tensorflow"),
        (("tensorflow",), None, "{half a file", "tensorflow"),
        (("tensorflow",), None, "[]", "tensorflow"),
    ],
)
def test_the_backend_is_the_users_choice_where_it_is_installed(
    installed, monkeypatch, tmp_path, packages, variable, file, expected
):
    installed(*packages)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if file is not None:
        keras_json(tmp_path, file)
    assert settings.choose_backend() == expected


@pytest.mark.parametrize("asked", ["theano", "numpy", "JAX"])
def test_a_backend_that_cannot_train_is_refused(installed, monkeypatch, asked):
    installed("tensorflow", "jax", "numpy")
    monkeypatch.setenv("KERAS_BACKEND", asked)
    with pytest.raises(UserError, match=f"KERAS_BACKEND asks for '{asked}'; expected .* tensorflow, jax, torch"):
        settings.choose_backend()


def test_without_any_backend_it_says_what_to_install(installed):
    installed()
    with pytest.raises(UserError, match=r"TensorFlow is not installed: .*requirements\.txt"):
        settings.choose_backend()


def test_a_processor_that_tensorflow_is_not_built_for_is_told(monkeypatch):
    monkeypatch.setattr(settings.machine, "cpu_flags", lambda: frozenset({"fpu", "sse2"}))
    with pytest.raises(UserError, match="no AVX"):
        settings.prepare_environment()


def test_what_keras_says_of_its_settings_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with (
        pytest.raises(UserError, match=r"Invalid `floatx`.*mend or delete .*keras\.json"),
        settings.explain_import_errors(),
    ):
        raise ValueError("Invalid `floatx` configuration")


# --- a whole stage of the pipeline, in the surroundings of others


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """(flags, store) of a plan whose one run is to be trained on pixels of noise."""
    folder = tmp_path_factory.mktemp("ready")
    path = fabricated.write_plan(
        folder,
        ('crop = "big"', 'crop = "small"\non_missing_weights = "random"\nviews = "single"'),
        ('[[runs]]\nname = "b"\nbackbone = "mobilenetv2"\ncrop = "small"\nfine_tune = { epochs = 2 }\n', ""),
        ('runs = ["a", "b"]', 'runs = ["a"]'),
    )
    store = Store(folder / "out" / "mine")
    stage_outputs.inputs(store, stage_outputs.votes(24), stage_outputs.sample(6))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    stage_outputs.crops(store, "small", train=pixels, test=pixels[:6], aside={})
    flags = ["--plan", str(path), "--output", str(folder / "out")]
    folds.main(flags)
    return flags, store


def error_of(made: subprocess.CompletedProcess) -> str:
    """The one sentence of a user's mistake, after that of what --force would discard where there is something."""
    *before, error = made.stderr.splitlines()
    assert made.returncode == 2, made.stderr
    assert [line.split()[1] for line in before] in ([], ["rebuilding"]), made.stderr
    return error


def trained(ready, **environment: str) -> float:
    """The score of the run after both of its folds were trained and its test galaxies predicted."""
    flags, store = ready
    offline = {"https_proxy": "http://127.0.0.1:9"}
    for stage in ("train", "predict"):
        made = run(["-m", "pipeline", stage, *flags, "--force", "--yes"], **(offline | environment))
        assert made.returncode == 0, made.stderr
    return store.predicted("a", 1).record()["rmse"]


@pytest.fixture(scope="module")
def undisturbed(ready):
    return trained(ready)


SURROUNDINGS = {
    "KERAS_BACKEND of another project": {"KERAS_BACKEND": "torch"},
    "legacy Keras": {"TF_USE_LEGACY_KERAS": "1"},
    "threads": {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
    "threads that are no number": {"OMP_NUM_THREADS": "abc", "TF_NUM_INTRAOP_THREADS": "abc"},
    "no GPU": {"CUDA_VISIBLE_DEVICES": ""},
    "no home": {"HOME": "(none)", "KERAS_HOME": "(none)"},
    "a home that is missing": {"HOME": "/nonexistent", "KERAS_HOME": "(none)"},
    "KERAS_HOME is a file": {"KERAS_HOME": __file__},
    "KERAS_HOME is missing": {"KERAS_HOME": "/proc/none"},
    "TMPDIR is missing": {"TMPDIR": "/nonexistent"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    "far away": {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "17", "MPLBACKEND": "TkAgg"},
    "GPU memory as it grows": {"TF_FORCE_GPU_ALLOW_GROWTH": "false"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_change_no_answer(ready, undisturbed, name):
    assert trained(ready, **SURROUNDINGS[name]) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("content", [STRANGE, {"backend": "torch"}, "{half a file"], ids=["strange", "torch", "cut"])
def test_keras_json_changes_no_answer(ready, undisturbed, tmp_path, content):
    home = keras_json(tmp_path, content if isinstance(content, str) else json.dumps(content))
    assert trained(ready, KERAS_HOME=home) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KERAS_BACKEND": "theano"}, "KERAS_BACKEND asks for 'theano'"),
        ({"XLA_FLAGS": "--nonsense"}, "TensorFlow does not start with XLA_FLAGS=--nonsense"),
        ({"TF_XLA_FLAGS": "--nonsense"}, "TensorFlow does not start with TF_XLA_FLAGS=--nonsense"),
    ],
)
def test_what_stands_in_the_way_is_one_sentence(ready, environment, said):
    made = run(["-m", "pipeline", "train", *ready[0], "--force", "--yes"], **environment)
    assert error_of(made).startswith(f"error: {said}")


@pytest.mark.parametrize("content", ["[]", '{"floatx": "float8"}', '{"epsilon": 1}'])
def test_a_keras_json_that_keras_itself_refuses_is_told(ready, tmp_path, content):
    made = run(["-m", "pipeline", "train", *ready[0], "--force", "--yes"], KERAS_HOME=keras_json(tmp_path, content))
    assert f"mend or delete {tmp_path}/keras.json" in error_of(made)


def test_help_is_the_contract_also_where_python_forgets_docstrings():
    for command in ("train", "classify"):
        made = run(["-m", "pipeline", command, "--help"], PYTHONOPTIMIZE="2")
        assert "writes  " in made.stdout, made.stderr
