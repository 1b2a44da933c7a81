"""The notebooks: committed with their outputs, without logic of their own, and run afresh."""

import ast
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.builders.calls import wrong_calls

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted((ROOT / "tests" / "benchmarks").glob("[a-z]*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))  # kaggle.ipynb: test_on_kaggle.py


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_committed_as_run_small_and_without_errors(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_of(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert sum(bool(cell.outputs) for cell in cells) > len(cells) / 2
    assert path.stat().st_size < 2e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_hold_no_logic_of_their_own(path):
    for cell in code_of(nbformat.read(path, as_version=4)):
        nodes = ast.walk(ast.parse(cell.source))
        defined = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert not defined
        assert len(cell.source.splitlines()) < 30


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_call_what_there_is_with_what_it_takes(path):
    """What running them, which takes minutes, would tell."""
    notebook = nbformat.read(path, as_version=4)
    assert not list(wrong_calls("\n".join(cell.source for cell in code_of(notebook))))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_so_do_the_benchmarks(path):
    assert not list(wrong_calls(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("source", "said"), [
    ("from pipeline.report.material import Material\nMaterial(1, 2, 3, 4)", "line 2: Material: too many positional"),
    ("from pipeline.report import leaderboard\nleaderboard.score_all(1)", "line 2: leaderboard.score_all: missing a"),
    ("from pipeline.report import leaderboard\nleaderboard.score_all(*[1], more=2)", "got an unexpected keyword"),
])  # fmt: skip
def test_a_call_that_would_fail_is_found(source, said):
    (found,) = wrong_calls(source)
    assert said in found
    with pytest.raises(AttributeError, match="no attribute 'gone'"):
        list(wrong_calls("from pipeline.report import leaderboard\nleaderboard.gone()"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run_from_nothing(path, tmp_path):
    from nbclient import NotebookClient

    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    shutil.copy(path, tmp_path / "notebooks")
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    assert not [out for cell in code_of(notebook) for out in cell.outputs if out.output_type == "error"]
    assert (tmp_path / "output").is_dir()
