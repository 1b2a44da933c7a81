"""Files of what people answered: appended whole, sealed, the last line of a person and a galaxy counts."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.store import answers
from pipeline.store.answers import Line

FIRST = Line("7", "anna", "2026-01-01T00:00:00.000+00:00", {"ring": "yes"}, "complete", "random", "abc", {"name": "n"})
MANY = """
import sys
from pathlib import Path
from dataclasses import replace
from pipeline.store.answers import append
from tests.store.test_answers import FIRST
for i in range(100):
    append(Path(sys.argv[1]), replace(FIRST, galaxy=f"{sys.argv[2]}-{i}"))
"""


def test_what_was_appended_is_read(tmp_path):
    second = replace(FIRST, who="ben", answers={"ring": "no"}, model=None)
    for line in (FIRST, second):
        answers.append(tmp_path / "answers", line)
    found = answers.read(tmp_path / "answers")
    assert list(found.lines.values()) == [FIRST, second]
    assert found.sentences() == []
    assert answers.read(tmp_path / "none").lines == {}


def test_the_folder_of_the_images_is_remembered_beside_them(tmp_path):
    assert answers.images_of(tmp_path / "answers") is None
    answers.remember_images(tmp_path / "answers", tmp_path / "mine")
    answers.append(tmp_path / "answers", FIRST)
    assert answers.images_of(tmp_path / "answers") == tmp_path / "mine"
    assert list(answers.read(tmp_path / "answers").lines.values()) == [FIRST]
    (tmp_path / "answers" / answers.SOURCE).write_text("{}x")
    assert answers.images_of(tmp_path / "answers") is None


def test_the_last_line_of_a_person_and_a_galaxy_counts(tmp_path):
    for given, state in (({"ring": "yes"}, "complete"), ({}, "begun"), ({"ring": "no"}, "complete")):
        answers.append(tmp_path, replace(FIRST, answers=given, state=state))
    assert [line.answers for line in answers.read(tmp_path).complete()] == [{"ring": "no"}]
    answers.append(tmp_path, replace(FIRST, answers={}, state="skipped"))
    assert answers.read(tmp_path).complete() == []


def test_only_what_counts_changes_the_digest(tmp_path):
    assert answers.read(tmp_path).digest() is None
    answers.append(tmp_path, replace(FIRST, answers={}, state="skipped"))
    assert answers.read(tmp_path).digest() is None
    assert answers.read(tmp_path).record() is None
    answers.append(tmp_path, replace(FIRST, galaxy="8"))
    before = answers.read(tmp_path).digest()
    answers.append(tmp_path, replace(FIRST, galaxy="9", answers={}, state="begun"))
    assert answers.read(tmp_path).digest() == before
    answers.append(tmp_path, replace(FIRST, galaxy="9"))
    assert answers.read(tmp_path).digest() != before


@pytest.mark.parametrize("cut", [1, 40, -2])
def test_a_line_cut_short_is_left_out_and_the_next_stands_on_its_own(tmp_path, cut):
    answers.append(tmp_path, FIRST)
    path = tmp_path / "anna.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.replace(b'"7"', b'"8"')[:cut])
    found = answers.read(tmp_path)
    assert list(found.lines.values()) == [FIRST]
    assert found.sentences() == ["1 answer is damaged or cut short and left out (anna.jsonl, line 2)"]
    answers.append(tmp_path, replace(FIRST, galaxy="9"))
    assert [line.galaxy for line in answers.read(tmp_path).complete()] == ["7", "9"]


def test_a_changed_letter_is_no_other_answer(tmp_path):
    answers.append(tmp_path, FIRST)
    path = tmp_path / "anna.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"galaxy": "7"', b'"galaxy": "6"'))
    found = answers.read(tmp_path)
    assert (found.lines, len(found.damaged)) == ({}, 1)


@pytest.mark.parametrize("line", [b"[]", b"1", b"{}", b'{"galaxy": 7}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_answer_is_told(tmp_path, line):
    (tmp_path / "x.jsonl").write_bytes(line + b"\n")
    assert answers.read(tmp_path).damaged == ("x.jsonl, line 1",)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    answers.append(tmp_path, FIRST)
    before = (tmp_path / "anna.jsonl").read_bytes()

    def full(file: int, data: bytes) -> None:
        import os

        os.write(file, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answers, "_write", full)
    with pytest.raises(OSError, match="No space"):
        answers.append(tmp_path, replace(FIRST, galaxy="8"))
    assert (tmp_path / "anna.jsonl").read_bytes() == before


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    root = Path(__file__).parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", MANY, tmp_path, str(k)], cwd=root) for k in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = answers.read(tmp_path)
    assert len(found.complete()) == 300
    assert found.damaged == ()
