"""The end of a session: work stops in time, by itself or between epochs, and the exit code says so."""

import signal
import subprocess
import sys
import time

import pytest

from pipeline import cli
from pipeline.execution import deadline
from pipeline.execution.deadline import TimeIsUp


@pytest.fixture(autouse=True)
def _no_deadline_is_left(monkeypatch):
    monkeypatch.setattr(deadline, "_at", deadline._at)
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_without_one_there_is_time_for_everything():
    deadline.require(1e9)


def test_what_would_not_be_done_in_time_is_not_begun():
    deadline.begin(time.time() + 1000)
    deadline.require(900)
    with pytest.raises(TimeIsUp):
        deadline.require(1100)


def test_work_of_any_kind_stops_when_it_is_reached():
    deadline.begin(time.time() + 0.05)
    with pytest.raises(TimeIsUp):
        time.sleep(20)


def test_a_stage_begun_after_it_stops_at_once(tmp_path):
    def stage():
        cli.parse(cli.parser(""), ["--plan", "smoke", "--output", str(tmp_path), "--until", "0"])
        time.sleep(20)

    with pytest.raises(TimeIsUp):
        stage()


@pytest.mark.parametrize(
    ("stop", "code"),
    [("KeyboardInterrupt", 130), ("deadline.TimeIsUp", 3), ("program.Terminated", 143), ("KeyError", 1)],
)
@pytest.mark.parametrize("how", ["raise ImportError('no') from one", "raise TypeError('no weights')"])
def test_what_stops_a_command_counts_also_where_a_library_made_another_error_of_it(stop, code, how):
    body = f"""
from pipeline import program
from pipeline.execution import deadline
def main():
    try:
        raise {stop}
    except BaseException as one:
        {how}
program.start(main)
"""
    made = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert (made.returncode, "Traceback" in made.stderr) == (code, code == 1), made.stderr


def test_a_signal_that_comes_twice_counts_once():
    body = """
import os, signal, time
from pipeline import program
def main():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
program.start(main)
"""
    made = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert made.returncode == 143
    assert made.stderr.count("\n") == 1
    assert made.stderr.startswith("terminated")


@pytest.mark.parametrize(("sent", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_that_comes_where_python_drops_exceptions_is_not_lost(sent, code):
    body = f"""
import os, signal, time
from pipeline import program
class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.{sent})
        time.sleep(0.01)
def main():
    Dropped()
    time.sleep(20)
program.start(main)
"""
    made = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False, timeout=15)
    assert made.returncode == code, made.stderr
    assert "Traceback" not in made.stderr
