"""`notebook` opens the notebooks in JupyterLab, on the Python that has the pipeline's packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipeline import __main__ as command_line
from pipeline.commands import notebook
from pipeline.errors import UserError

ROOT = Path(__file__).parents[2]
JUPYTERLAB = """
import os, sys
print(os.getcwd(), sys.executable, *sys.argv[1:], sep="\\n")
sys.exit(7)
"""


def test_jupyterlab_is_started_among_the_notebooks_with_the_flags_given(tmp_path):
    (tmp_path / "jupyterlab").mkdir()
    (tmp_path / "jupyterlab" / "__init__.py").touch()
    (tmp_path / "jupyterlab" / "__main__.py").write_text(JUPYTERLAB)
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = ["--no-browser", "--allow-root", "1-the-data.ipynb"]
    command = [sys.executable, "-m", "pipeline", "notebook", *words]
    made = subprocess.run(command, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, timeout=60)
    assert made.returncode == 7, made.stderr
    assert made.stdout.splitlines() == [str(ROOT / "notebooks"), sys.executable, *words]
    assert (ROOT / "notebooks" / "1-the-data.ipynb").is_file()


def test_as_root_the_flag_that_it_takes_is_named(monkeypatch):
    monkeypatch.setattr(notebook, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UserError, match="add --allow-root"):
        notebook.main(["--no-browser"])


def test_where_it_is_not_installed_that_is_said(monkeypatch):
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    monkeypatch.setattr(os, "execv", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-notebook\.txt"):
        notebook.main([])


def test_its_packages_are_installed_before_it_runs():
    files = command_line.requirements(["notebook", "--no-browser"])
    assert files == ["requirements.txt", "requirements-notebook.txt"]
    lines = (ROOT / files[1]).read_text(encoding="utf-8").splitlines()
    names = {Requirement(line).name for line in lines if not line.startswith("#")}
    assert names == {"jupyterlab", "ipykernel"}


def test_its_words_are_jupyters_and_no_plan():
    assert command_line.resolve(["notebook", "--port", "8899"]) == ("notebook", ["--port", "8899"])
    assert command_line.resolve(["status"]) == ("status", ["--plan", "demo"])
