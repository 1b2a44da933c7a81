"""The machine as this process may use it, whatever it has besides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import machine

ROOT = Path(__file__).parents[2]
ONE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
CPUINFO = (
    "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"
)


@pytest.fixture(autouse=True)
def _fresh():
    machine._cpuinfo_field.cache_clear()
    yield
    machine._cpuinfo_field.cache_clear()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux confines a process to some cores")
def test_cores_are_those_that_are_left_to_the_process():
    code = ONE + "from pipeline.core import machine; print(machine.cores())"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == "1\n"


@pytest.mark.parametrize(("given", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_a_container_may_have_less_than_its_machine(monkeypatch, tmp_path, given, expected):
    monkeypatch.setattr(machine, "CGROUP_QUOTA", tmp_path / "none")
    without = machine.cores()
    monkeypatch.setattr(machine, "CGROUP_QUOTA", tmp_path / "cpu.max")
    machine.CGROUP_QUOTA.write_text(given + "\n")
    assert machine.cores() == (expected or without)


def test_what_linux_says_of_the_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    machine.CPUINFO.write_text(CPUINFO)
    assert machine.cpu_name() == "A Processor"
    assert machine.cpu_flags() == {"fpu", "avx2", "avx512_bf16"}


def test_where_nothing_is_said_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert machine.cpu_name()
    assert machine.cpu_flags() == frozenset()
