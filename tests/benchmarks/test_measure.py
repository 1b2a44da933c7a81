"""The benchmarks' own arithmetic."""

import json
import subprocess
import sys

import pytest

from tests.benchmarks.measure import ROOT, Row, child, compare


def test_pairs_alternate_and_the_ratio_is_the_median_of_pairs():
    calls = []

    def side(name, values):
        figures = iter(values)
        return lambda: calls.append(name) or next(figures)

    ours, theirs = side("ours", [9, 2, 4, 30]), side("theirs", [9, 2, 2, 10])
    row = compare("x", ours, theirs, unit="s", goal=">= 2", pairs=3)
    assert calls == ["ours", "theirs", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (row.ours, row.reference, row.ratio, row.low, row.high) == (4, 2, 2, 1, 3)
    assert row.met


@pytest.mark.parametrize(("goal", "met"), [(">= 2", True), (">= 2.1", False), ("<= 2", True), ("<= 1.9", False)])
def test_a_goal_is_met_or_missed(goal, met):
    row = Row("x", 4, 2, "s", 2.0, 2.0, 2.0, goal)
    assert row.met is met
    assert row.record()["met"] is met


def test_a_child_tells_its_time_and_memory():
    took, peak = child([sys.executable, "-c", "import time; kept = bytearray(200_000_000); time.sleep(0.2)"])
    assert 0.2 < took < 20
    assert 200 < peak < 400


def test_a_child_that_fails_is_said_with_its_last_words():
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3: .*no such galaxy"):
        child([sys.executable, "-c", "import sys; print('no such galaxy'); sys.exit(3)"])


@pytest.mark.slow
def test_every_group_can_be_measured(tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", str(tmp_path / "made.json")]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout
    assert {"crops", "classify", "report"} <= {
        row["stage"] for row in json.loads((tmp_path / "made.json").read_text())["rows"]
    }
