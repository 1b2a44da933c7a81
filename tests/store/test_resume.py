"""Beginning with what an earlier session has left: whole or not at all, and never over what is there."""

import shutil

import pytest

from pipeline.errors import UserError
from pipeline.store import resume
from pipeline.store.artifacts import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "now" / "mine")


@pytest.fixture
def earlier(tmp_path):
    """output/mine of a session that was stopped in the middle of a fold."""
    folder = tmp_path / "attached" / "output" / "mine"
    texts = {"inputs/inputs.json": "{}", "runs/a/fold0/checkpoint.weights.h5": "half", "inputs/labels.parquet": "votes"}
    litter = {".3.report.html": "torn", "runs/a/fold0/.run.json.lock": "{}"}
    for name, text in (texts | litter).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o444)
    return folder, texts


def files_of(folder) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("where", ["output/mine", "output", "."])
def test_everything_but_locks_and_temporary_files_is_copied_wherever_it_is_found(tmp_path, store, earlier, where):
    resume.resume(tmp_path / "attached" / where, "mine", store)
    assert files_of(store.root) == earlier[1]
    (store.root / "inputs" / "inputs.json").write_text("may be written to")
    assert [path.name for path in store.root.parent.iterdir()] == ["mine"]


def test_what_has_begun_here_is_left_alone(tmp_path, store, earlier):
    store.inputs().record_path.parent.mkdir(parents=True)
    store.inputs().record_path.write_text("mine")
    resume.resume(tmp_path / "attached", "mine", store)
    assert files_of(store.root) == {"inputs/inputs.json": "mine"}


def test_other_files_are_not_written_over(tmp_path, store, earlier):
    store.root.mkdir(parents=True)
    (store.root / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="holds other files: delete it"):
        resume.resume(tmp_path / "attached", "mine", store)
    assert files_of(store.root) == {"thesis.tex": "mine"}


@pytest.mark.parametrize("where", ["nowhere", "attached/output/mine/runs"])
def test_a_folder_without_the_plan_is_refused(tmp_path, store, earlier, where):
    with pytest.raises(UserError, match=r"no output of plan mine there; expected mine/inputs/inputs\.json"):
        resume.resume(tmp_path / where, "mine", store)
    assert not store.root.exists()


def test_an_interrupted_copy_leaves_nothing_that_counts_and_is_made_again(tmp_path, store, earlier, monkeypatch):
    copied = []

    def copyfile(path, to):
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(to.write_bytes(path.read_bytes()))

    with monkeypatch.context() as patch:
        patch.setattr(resume.shutil, "copyfile", copyfile)
        with pytest.raises(KeyboardInterrupt):
            resume.resume(tmp_path / "attached", "mine", store)
    assert not store.root.exists()
    resume.resume(tmp_path / "attached", "mine", store)
    assert files_of(store.root) == earlier[1]


def test_a_disk_without_room_is_told_before_anything_is_copied(tmp_path, store, earlier, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(UserError, match="make room"):
        resume.resume(tmp_path / "attached", "mine", store)
    assert not store.root.parent.exists()
