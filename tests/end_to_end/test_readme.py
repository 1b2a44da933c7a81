"""Every command in README.md: its words are understood, it runs on a small survey (slow), or it is said why not."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from pipeline import __main__ as command_line
from pipeline.plans.config import load_plan
from tests.builders import own_galaxies
from tests.builders.galaxy_zoo_2 import GZ2
from tests.conftest import SURVEY

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PLANS = ("demo", "frozen", "laptop", "laptop-best", "laptop-night", "competition", "competition-classic")
SEARCH = """
[search]
repeats = 1
[search.space]
dropout = { low = 0.0, high = 0.5 }
"""
# hands over as run.sh does; a plan of the README is the small one of its name here, and writes here
STUB = """
import sys
from pathlib import Path
from pipeline.__main__ import HELP, main, resolve
from tests.builders.galaxy_zoo_2 import GZ2

words = [f"{word}.toml" if Path(f"{word}.toml").is_file() else word for word in sys.argv[1:] or ["demo"]]
if not set(HELP) & set(words):
    name, rest = resolve(words)
    words += ["--output", "output"] if name == "run" or "--plan" in rest else []
main(words)
"""


RINGS = next(block for block in FENCED.findall(README) if block.startswith('kind = "class"'))


class Row(NamedTuple):
    """How a command of the README is tried."""

    typed: str | None = None  # instead of it, where it has placeholders or would take long
    makes: str = ""  # a file or folder that it makes
    says: str = ""  # what its output has
    not_run: str = ""  # why it is not


KAGGLE = "needs an account at Kaggle: tests/competition runs it on a server of its own"
SLOW = "runs for long, and runs this test"
TABLE = {
    "./run.sh": Row(makes="output/demo/report.html", says=r"name +kind +RMSE"),
    "./run.sh test": Row(not_run=SLOW),
    "./run.sh --help": Row(says="Search better|search"),
    "./run.sh COMMAND --help": Row("./run.sh classify --help", says="--images"),
    "./run.sh --locked …": Row("./run.sh --help", not_run="installs packages from the registry"),
    "./run.sh --here …": Row("./run.sh --help", not_run="is the shell's, see below"),
    "./run.sh rings.toml --input ~/rings": Row(
        "./run.sh asking.toml --input ~/rings", makes="output/asking/report.html", says="log loss"
    ),
    "./run.sh rings.toml --force inputs": Row(
        "./run.sh asking.toml --input ~/rings --force inputs --yes", says="log loss"
    ),
    "./run.sh demo": Row(makes="output/demo/report.html"),
    "./run.sh frozen --input ~/galaxy-zoo": Row(makes="output/frozen/submissions/final.csv"),
    "./run.sh laptop --input ~/galaxy-zoo": Row(makes="output/laptop/submissions/final.csv"),
    "./run.sh laptop-best --input ~/galaxy-zoo": Row(makes="output/laptop-best/report.html"),
    "./run.sh laptop-night --input ~/galaxy-zoo": Row(makes="output/laptop-night/submissions/final.csv"),
    "./run.sh label rings.toml --input ~/rings": Row(
        "./run.sh label asking.toml --input ~/rings --port 0",
        not_run="serves a page until it is stopped: tests/commands/test_label.py",
    ),
    "./run.sh label-efficiency --plan few-labels --input ~/rings": Row(
        "./run.sh label-efficiency --plan asking.toml --input ~/rings --sizes 4,8 --repeats 1", says="curves.csv"
    ),
    "./run.sh embed cutouts/ --run output/laptop/runs/mobilenetv2 --to features/": Row(
        "./run.sh embed cutouts/ --run output/laptop/runs/head --to features/", makes="features"
    ),
    "./run.sh similar --to features/ --image mine.jpg -n 100": Row(
        './run.sh similar --to features/ --image "$(ls cutouts/* | head -1)" -n 3', says="html"
    ),
    "./run.sh unusual --to features/ -n 100": Row("./run.sh unusual --to features/ -n 3", says="html"),
    "./run.sh card --plan demo": Row(says="license"),
    "./run.sh competition --input ~/galaxy-zoo": Row(makes="output/competition/submissions/final.csv"),
    "./run.sh competition-classic --input ~/galaxy-zoo": Row(makes="output/competition-classic/report.html"),
    "./run.sh competition --run convnextbase": Row(
        "./run.sh competition --run head", makes="output/competition/submissions/head.csv"
    ),
    "./run.sh status competition": Row(says="train      4 of 4 complete"),
    "./run.sh plan competition --estimate": Row(says="head"),
    "./run.sh inputs --plan laptop --input ~/galaxy-zoo": Row(makes="output/laptop/inputs/labels.parquet"),
    "./run.sh laptop --input DIR": Row("./run.sh laptop --input ~/galaxy-zoo", makes="output/laptop/report.html"),
    "./run.sh laptop-best --input DIR": Row("./run.sh laptop-best --input ~/galaxy-zoo"),
    "./run.sh STAGE --plan PLAN [--run R] [--fold K] [--force [--yes]]": Row(
        "./run.sh predict --plan demo --run head --fold 1 --force --yes",
        makes="output/demo/runs/head/fold1/test.parquet",
    ),
    "./run.sh status PLAN --check": Row("./run.sh status demo --check", says="predict"),
    "./run.sh report --compare output/laptop output/laptop-best": Row(says="30 galaxies of both"),
    "./run.sh competition --download": Row(not_run=KAGGLE),
    './run.sh submit --plan competition --upload -m "more rotations"': Row(not_run=KAGGLE),
    "./run.sh classify galaxies.parquet --images cutouts.zip --ensemble output/laptop/ensembles/final --to "
    "answers.parquet": Row(makes="answers.parquet"),
    "./run.sh classify cutouts/ --ensemble output/laptop/ensembles/final --to answers/": Row(makes="answers"),
    "./run.sh classify hats/galaxies …": Row(
        "./run.sh classify hats/galaxies --ensemble output/laptop/ensembles/final --to answers/",
        not_run="has a test of its own, with hats-import: test_hats.py",
    ),
    './run.sh train --plan competition-classic --run "${runs[SLURM_ARRAY_TASK_ID / 5]}" --fold '
    "$((SLURM_ARRAY_TASK_ID % 5))": Row(
        "runs=(head fine); SLURM_ARRAY_TASK_ID=6; ./run.sh train --plan competition-classic "
        '--run "${runs[SLURM_ARRAY_TASK_ID / 5]}" --fold $((SLURM_ARRAY_TASK_ID % 5))'
    ),
    './run.sh classify "$TAR" --ensemble … --to "answers/$(basename "$TAR" .tar)"': Row(
        'TAR=tars/a.tar; ./run.sh classify "$TAR" --ensemble output/laptop/ensembles/final '
        '--to "answers-of/$(basename "$TAR" .tar)"',
        makes="answers-of/a",
    ),
    "./run.sh export --ensemble output/demo/ensembles/final --to model/": Row(makes="model/model.onnx"),
    "./run.sh serve --ensemble output/demo/ensembles/final": Row(
        "./run.sh serve --ensemble output/demo/ensembles/final --port 0"
    ),
    "./run.sh mine.toml --input ~/galaxy-zoo": Row(makes="output/mine/report.html"),
    "./run.sh status mine.toml": Row(says="train"),
    "./run.sh mine.toml --run from-random": Row(
        "./run.sh mine.toml --run head", makes="output/mine/submissions/head.csv"
    ),
    "./run.sh search --plan demo --run vgg16 --trials 30": Row(
        "./run.sh search --plan demo --run head --trials 2", makes="output/demo/search/head/best.toml"
    ),
    "./run.sh report --plan demo": Row(makes="output/demo/report.html"),
    "./run.sh search --plan frozen --run mobilenetv2 --trials 40": Row(
        "./run.sh search --plan frozen --run head --trials 1", makes="output/frozen/search/head/best.toml"
    ),
    "./run.sh laptop-best --input DIR --weights mobilenetv2=FILE": Row(
        "./run.sh weighted.toml --input ~/galaxy-zoo --weights mobilenetv2=mine.weights.h5",
        makes="output/weighted/submissions/final.csv",
    ),
    "./run.sh notebook": Row(not_run="opens JupyterLab and stays: tests/commands/test_notebook.py"),
    "./run.sh notebook --no-browser": Row(not_run="opens JupyterLab and stays: tests/commands/test_notebook.py"),
    "./run.sh bench": Row(not_run="takes half an hour: tests/benchmarks/test_measure.py tries its parts"),
}


def commands() -> list[str]:
    """Every command of the README that begins with ./run.sh, in fenced blocks and in the text."""
    lines = [line for block in FENCED.findall(README) for line in block.splitlines()]
    inline = re.findall(r"`([^`]+)`", FENCED.sub("", README))
    found = (" ".join(re.sub(r"\s#.*", "", text).split()) for text in [*lines, *inline])
    return list(dict.fromkeys(text for text in found if re.match(r"\./run\.sh( |$)", text)))


def test_the_table_has_every_command_and_no_other():
    found = commands()
    assert len(found) > 20
    assert [text for text in found if text not in TABLE] == []
    assert [text for text in TABLE if text not in found] == []


def shell(typed: str, place: Path, script: str) -> list[str]:
    """What bash makes of a command, where this script is its ./run.sh."""
    (place / "run.sh").write_text(script)
    (place / "run.sh").chmod(0o755)
    return ["bash", "-c", typed]


class Understood(Exception):
    pass


@pytest.mark.parametrize("text", TABLE)
def test_its_words_are_understood(text, tmp_path, monkeypatch):
    typed = shell(TABLE[text].typed or text, tmp_path, "#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\n")
    words = subprocess.run(typed, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]
    parse = argparse.ArgumentParser.parse_args

    def understood(self, *arguments, **more):
        raise Understood(parse(self, *arguments, **more))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", understood)
    name, rest = command_line.resolve(words)
    if set(words) & set(command_line.HELP) or command_line.COMMANDS[name].group == "develop":
        return
    with pytest.raises(Understood) as told:
        command_line._entry(name)(rest)
    plan = getattr(told.value.args[0], "plan", None)
    assert plan is None or plan.endswith(".toml") or plan in command_line.plans()


def test_the_python_that_is_active_is_used_and_nothing_installed(tmp_path):
    (tmp_path / "python3").write_text(f'#!/bin/sh\necho active\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shutil.copy(ROOT / "run.sh", tmp_path)
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    made = subprocess.run(
        ["./run.sh", "--here", "plan", "smoke"], cwd=tmp_path, env=os.environ | path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("active\n")
    assert not (tmp_path / ".venv").exists()


def test_the_model_that_it_adds_makes_a_plan(tmp_path):
    (added,) = re.findall(r"^```toml\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    path = tmp_path / "mine.toml"
    path.write_text((ROOT / "pipeline" / "plans" / "laptop.toml").read_text() + added)
    assert load_plan(str(path)).run("convnext").backbone == "convnexttiny"


@pytest.fixture(scope="module")
def place(survey, tmp_path_factory) -> Path:
    """A folder with small plans of the shipped names, trained, and all files that the README speaks of."""
    place = tmp_path_factory.mktemp("readme")
    shell("", place, f'#!/bin/sh\nexec "{sys.executable}" "{place / "stub.py"}" "$@"\n')
    (place / "stub.py").write_text(STUB)
    for name in (*PLANS, "mine"):
        (place / f"{name}.toml").write_text(SURVEY + SEARCH)
        shutil.copytree(survey.store.root, place / "output" / name)
    images, discs = own_galaxies.pictures(40, 64)
    classes = ["ring" if one else "no ring" for one in discs]
    own_galaxies.write(place / "rings", images, [f"J{i}+1.png" for i in range(40)], "objid,ring", classes)
    (place / "asking.toml").write_text(own_galaxies.PLAN.format(head='labels = "asked.toml"'))
    (place / "asked.toml").write_text(RINGS)
    (place / "weighted.toml").write_text(SURVEY)
    (place / "galaxy-zoo").symlink_to(survey.raw)
    images = {f"{i}.jpg": survey.images[i] for i in survey.test_ids}
    (place / "cutouts").mkdir()
    (place / "tars").mkdir()
    with zipfile.ZipFile(place / "cutouts.zip", "w") as archive:
        for name, data in images.items():
            archive.writestr(name, data)
            (place / "cutouts" / name).write_bytes(data)
    subprocess.run(["tar", "-cf", place / "tars" / "a.tar", "-C", place / "cutouts", "."], check=True)
    pd.DataFrame({"id": survey.test_ids}).to_parquet(place / "galaxies.parquet")
    embed = "./run.sh embed cutouts/ --run output/laptop/runs/head --to features/"
    subprocess.run(["bash", "-c", embed], cwd=place, env=environment(place), check=True)
    return place


def environment(place: Path) -> dict[str, str]:
    nowhere = {"KERAS_HOME": str(place / "keras"), "https_proxy": "http://127.0.0.1:9", "PYTHONUNBUFFERED": "1"}
    return os.environ | nowhere | {"HOME": str(place), "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text, row in TABLE.items() if not row.not_run and " serve " not in text])
def test_it_runs(text, place):
    row = TABLE[text]
    if "=FILE" in text:
        from pipeline.nn import backbone

        backbone.construct("mobilenetv2", 64).save_weights(place / "mine.weights.h5")
    made = subprocess.run(
        ["bash", "-c", row.typed or text], cwd=place, env=environment(place), capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert "Traceback" not in made.stderr
    assert not row.makes or (place / row.makes).exists()
    assert re.search(row.says, made.stdout + made.stderr)
    for table in place.glob("answers.parquet"):
        assert pd.read_parquet(table)[list(GZ2.columns)].notna().all(axis=None)


@pytest.mark.slow
def test_its_page_is_served(place):
    typed = TABLE["./run.sh serve --ensemble output/demo/ensembles/final"].typed
    server = subprocess.Popen(
        ["bash", "-c", f"exec {typed}"], cwd=place, env=environment(place), stderr=subprocess.PIPE, text=True
    )
    with server:
        told = next(found for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        with urllib.request.urlopen(told[0], timeout=60) as page:
            assert b"galaxy" in page.read().lower()
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode in (0, 130, -signal.SIGINT)
