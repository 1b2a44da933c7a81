"""The end of a session: work stops in time, by itself or between epochs, and the exit code says so."""

import signal
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


def test_an_error_that_the_deadline_became_on_its_way_is_known():
    def of(first: BaseException) -> Exception:
        try:
            try:
                raise first
            except BaseException as error:
                raise ImportError("initialization failed") from error
        except ImportError as error:
            return error

    assert deadline.caused(of(deadline.TimeIsUp()))
    assert not deadline.caused(of(KeyError()))
