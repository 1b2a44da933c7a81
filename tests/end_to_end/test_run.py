"""./run.sh itself: what it refuses, the smoke plan from end to end, and (slow) the demo's promise and real files."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.plans.config import load_plan
from pipeline.plans.layers import PLANS
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from tests.builders.galaxy_zoo_2 import GZ2

ROOT = Path(__file__).parents[2]
GIVEN = os.environ.get("GALAXY_ZOO_INPUT")
WEIGHTS = os.environ.get("GALAXY_ZOO_WEIGHTS")


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A project folder whose .venv is this interpreter, with all packages: nothing is installed."""
    home = tmp_path_factory.mktemp("home")
    for name in ("run.sh", "pipeline", "requirements.txt", "requirements-extra.txt", "requirements-test.txt"):
        (home / name).symlink_to(ROOT / name)
    python = home / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name in ("requirements.txt", "requirements-extra.txt", "requirements-test.txt"):
        (home / ".venv" / f"{name}.installed").touch()
    return home


def run(
    home: Path, *arguments: str, cwd: Path | None = None, timeout: int = 600, umask: int = -1, **environment: str
) -> subprocess.CompletedProcess:
    """./run.sh with these arguments; Keras finds no network and no file of an earlier download."""
    nowhere = {"KERAS_HOME": str(home / "keras"), "https_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        ["bash", str(home / "run.sh"), *map(str, arguments)],
        cwd=cwd or home,
        env=os.environ | nowhere | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        umask=umask,
        check=False,
    )


def test_the_script_is_executable_and_valid_bash():
    assert os.access(ROOT / "run.sh", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / "run.sh"], check=True)


@pytest.mark.parametrize("typed", ["--help", "-h", "help", "smoek"])
def test_help_and_unknown_words_set_nothing_up(tmp_path, typed):
    for name in ("run.sh", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    made = run(tmp_path, typed)
    assert made.returncode == (2 if typed == "smoek" else 0)
    for words in ("[PLAN]", "status", "test [--all]", "--input DIR", "--force STAGE") if typed != "smoek" else ():
        assert words in made.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"run.sh", "pipeline"}


@pytest.mark.skipif(not shutil.which("flock"), reason="flock is not there")
def test_of_two_commands_that_install_the_second_says_that_it_waits(tmp_path):
    for name in ("run.sh", "pipeline", "requirements.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    asked = f'[ "$3" = --requirements ] && exec "{sys.executable}" "$@"'
    python.write_text(f'#!/bin/sh\n{asked}\n[ "$2" = pip ] && sleep 5\nexit 0\n')
    python.chmod(0o755)
    with ThreadPoolExecutor(2) as pool:
        told = sorted(made.stderr for made in pool.map(lambda _: run(tmp_path, "smoke"), range(2)))
    assert told[0].count("\n") == told[1].count("\n") == 1  # the second installs nothing again
    assert told[0].startswith("setup      installing requirements.txt with ")
    assert told[1] == "setup      waits for another command that installs into .venv\n"


@pytest.mark.parametrize("command", ["search", "serve", "train"])
def test_help_of_a_command_installs_nothing(tmp_path, command):
    for name in ("run.sh", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    made = run(tmp_path, command, "--help")
    assert (made.returncode, made.stderr) == (0, "")
    assert f"    ./run.sh {command} --" in made.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"run.sh", "pipeline"}


def test_the_script_does_only_what_a_shell_can():
    assert len((ROOT / "run.sh").read_text().splitlines()) <= 90


REFUSED = {
    "an unknown option": (
        ["smoke", "--outptu", "x"],
        "error: unrecognized arguments: --outptu x; did you mean --output? --help lists all flags",
    ),
    "an option without its value": (
        ["smoke", "--output"],
        "error: argument --output: expected one argument; --help lists all flags",
    ),
    "an unknown stage": (
        ["smoke", "--force", "trian"],
        "error: argument --force: invalid choice: 'trian' (choose from ",
    ),
    "a misspelt plan": (["smoek"], "error: no command and no plan 'smoek': did you mean smoke?"),
    "status of a misspelt plan": (["status", "smoek"], "error: no plan 'smoek': give one of competition,"),
    "a folder that is none": (["laptop", "--input", "/nowhere"], "error: there is no folder /nowhere: expected a"),
    "a file for a folder": (["laptop", "--input", __file__], f"error: {__file__} is a file: expected a folder with"),
    "weights that are none": (
        ["smoke", "--weights", "vgg16=/no.h5"],
        "error: --weights vgg16=/no.h5: there is no such",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_exit_code_2_and_one_sentence_from_any_folder(home, tmp_path, arguments, sentence):
    made = run(home, *arguments, cwd=tmp_path)
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.startswith(sentence)
    assert made.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def files(folder: Path) -> dict[str, int]:
    """Every file below a folder and when it was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


def wanted(store: Store, plan_name: str) -> set[str]:
    """Every file that a finished plan has."""
    plan = load_plan(plan_name)
    artifacts = [unit.artifact for unit in dependencies.all_units(plan, store)]
    artifacts += [store.features(run.name) for run in plan.runs if run.head_phase.epochs]
    paths = [path for one in artifacts for path in (one.record_path, *one.files)]
    figures = {str(path.relative_to(store.root)) for path in (store.root / "report").iterdir()}
    return figures | {str(path.relative_to(store.root)) for path in paths}


def check_submission(path: Path, sample: pd.DataFrame) -> None:
    """A submission has the sample's ids, order and header, and vote fractions."""
    made = pd.read_csv(path)
    assert list(made.columns) == list(sample.columns)
    assert made.iloc[:, 0].tolist() == sample.iloc[:, 0].tolist()
    values = made.iloc[:, 1:].to_numpy()
    assert np.isfinite(values).all()
    assert 0 <= values.min() < values.max() <= 1
    assert values.std(axis=0).max() > 0.001  # not the same answer for all


def test_the_smoke_plan_from_end_to_end_then_nothing_twice_then_a_change_is_refused(home, tmp_path):
    """In a folder with spaces and letters from everywhere, in the C locale, with files for nobody else."""
    place = tmp_path / "mes galaxies à moi 星系"
    place.mkdir()
    plan = place / "smoke.toml"
    shutil.copy(PLANS / "smoke.toml", plan)
    flags = (plan, "--output", place / "aus gabe")
    made = run(home, *flags, cwd=tmp_path, umask=0o077, LC_ALL="C")
    assert made.returncode == 0, made.stderr
    assert "starts from RANDOM" in made.stderr

    store = Store(place / "aus gabe" / "smoke")
    before = files(store.root)
    assert not [name for name in before if (store.root / name).stat().st_mode & 0o077]
    assert not [name for name in before if name.endswith((".lock", ".partial"))]
    assert set(before) == wanted(store, str(plan))
    check_submission(store.submission("final").files[0], pd.read_csv(store.sky().files[3]))
    units = [unit for unit in dependencies.all_units(load_plan(str(plan)), store) if unit.label != "inputs"]
    assert [unit.label for unit in units if not unit.seconds > 0] == []  # the report says what each stage took

    made = run(home, *flags, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert files(store.root) == before

    shown = run(home, "status", *flags, cwd=tmp_path)
    assert "missing" not in shown.stdout + shown.stderr
    assert "  train      4 of 4 complete\n" in shown.stdout

    plan.write_text(plan.read_text().replace("fine_tune = { epochs = 1 }", "fine_tune = { epochs = 2 }"))
    made = run(home, *flags, cwd=tmp_path)
    assert made.returncode == 2
    assert "runs/mobilenetv2/fold0 was not made by this plan: fine_tune.epochs: 1 -> 2" in made.stderr
    again = shlex.join(["./run.sh", "run", "--plan", *map(str, flags), "--force", "train"])
    assert f"`{again}`" in made.stderr
    assert files(store.root) == before


@pytest.mark.slow
def test_the_demo_keeps_its_promise(home, tmp_path):
    began = time.monotonic()
    made = run(home, "demo", "--output", tmp_path)
    seconds = time.monotonic() - began
    assert made.returncode == 0, made.stderr
    store, plan = Store(tmp_path / "demo"), load_plan("demo")
    baselines = {name: store.baseline(name).record()["rmse"] for name in plan.baselines}
    ensemble = store.ensemble("final").record()["rmse"]
    folds = {run.name: [store.predicted(run.name, fold).record() for fold in range(plan.folds)] for run in plan.runs}
    members = {name: np.sqrt(np.mean([record["rmse"] ** 2 for record in records])) for name, records in folds.items()}
    told = f"ensemble {ensemble:.4f}, members {members}, baselines {baselines}, {seconds:.0f} s"
    print(told)
    assert ensemble <= 0.75 * baselines["mean"], told
    assert ensemble < min(baselines.values()), told
    assert ensemble <= min(members.values()) + 1e-6, told
    assert members["efficientnetlite0"] < min(baselines.values()), told  # it starts from ImageNet's weights
    assert seconds < 300, told


REAL = """
seed = 1
folds = 2
baselines = ["mean"]
[crops.small]
region = 256
size = 32
[[runs]]
name = "mobilenetv2"
backbone = "mobilenetv2"
crop = "small"
pooling = "multi"
views = "single"
head_phase = { epochs = 1 }
[[ensembles]]
name = "final"
runs = ["mobilenetv2"]
"""


@pytest.mark.skipif(not GIVEN, reason="GALAXY_ZOO_INPUT names no folder with the competition's real files")
@pytest.mark.skipif(not WEIGHTS, reason="GALAXY_ZOO_WEIGHTS names no file of MobileNetV2's real weights")
def test_real_files_become_a_submission_in_the_order_of_the_sample(home, tmp_path):
    plan = tmp_path / "real.toml"
    plan.write_text(REAL)
    flags = (plan, "--output", tmp_path, "--input", GIVEN, "--weights", f"mobilenetv2={WEIGHTS}")
    made = run(home, *flags, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    store = Store(tmp_path / "real")
    sample = pd.read_csv(Path(GIVEN) / "all_zeros_benchmark.zip")
    check_submission(store.submission("final").files[0], sample)
    assert list(sample.columns)[1:] == list(GZ2.columns)
    record = store.trained("mobilenetv2", 0).record()
    assert record["weights"]["source"] == "file"
    assert store.ensemble("final").record()["rmse"] < 0.9 * store.baseline("mean").record()["rmse"]
