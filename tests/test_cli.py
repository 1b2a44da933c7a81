"""The command line that all stages share: its help, its exit codes, what its flags select."""

import argparse
import errno
import importlib
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import __main__ as command_line
from pipeline import cli, program
from pipeline.__main__ import COMMANDS
from pipeline.errors import UserError
from pipeline.execution import deadline, locks
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from tests.builders import fabricated

STAGES = (*dependencies.STAGES, "status")
NAMED = {"baselines": "baseline", "ensemble": "ensemble, or run alone,", "submit": "ensemble, or run alone,"}
SELECT = dict.fromkeys(("baselines", "insight", "ensemble", "submit"), ("--run",))
SELECT |= dict.fromkeys(("train", "predict"), ("--run", "--fold"))


def module_of(command: str) -> ModuleType:
    return importlib.import_module(COMMANDS[command].module)


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_the_contract_of_the_stage(stage, capsys):
    module = module_of(stage)
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert module.__doc__.strip() in shown
    assert (f"only the {NAMED.get(stage, 'run')} of this name" in " ".join(shown.split())) == (stage in SELECT)
    for flag in ("--plan", "--output", *SELECT.get(stage, [])):
        assert flag in shown
    for flag in ("--force", "--yes", "--until"):
        assert (flag in shown) == (stage in dependencies.STAGES)  # status makes nothing


@pytest.mark.parametrize("stage", dependencies.STAGES)
def test_the_contract_says_number_reads_writes_and_command(stage):
    lines = module_of(stage).__doc__.splitlines()
    assert lines[0].startswith(f"Stage {list(dependencies.STAGES).index(stage)} of 9: ")
    for beginning in ("reads   ", "writes  ", f"    ./run.sh {stage} --plan "):
        assert any(line.startswith(beginning) for line in lines), beginning


CHECKED_LATER = {"--fold", "--port", "--trials", "--people", "--hours", "--until"}  # by who knows what there is


@pytest.mark.parametrize("command", [name for name in COMMANDS if ":" not in COMMANDS[name].module])
def test_no_flag_takes_just_any_number(command, monkeypatch):
    """Infinitely many minutes, a share of 3 and a price below nothing are refused by the flag's type."""
    bare, add = set(), argparse.ArgumentParser.add_argument

    def add_argument(parser, *names, **facts):
        bare.update(names if facts.get("type") in (int, float) else ())
        return add(parser, *names, **facts)

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", add_argument)
    with pytest.raises(SystemExit):
        module_of(command).main(["--help"])
    assert not bare - CHECKED_LATER


@pytest.mark.parametrize(("arguments", "flags"), [
    (["classify", "x", "--ensemble", "y", "--to", "z.csv", "--top", "5"], "--top goes with --most-likely"),
    (["plan", "--plan", "demo", "--price", "3"], "--price goes with --estimate"),
    (["submit", "--plan", "demo", "--wait", "0"], "--wait goes with --upload"),
    (["submit", "--plan", "demo", "-m", "mine"], "--message goes with --upload"),
])  # fmt: skip
def test_a_flag_that_would_do_nothing_is_refused(arguments, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        module_of(arguments[0]).main(arguments[1:])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {flags}, which is not given; --help lists all flags\n"


def test_help_of_every_stage_needs_no_keras():
    code = f"""
import importlib, sys
from pipeline.__main__ import COMMANDS
for stage in {STAGES}:
    try:
        importlib.import_module(COMMANDS[stage].module).main(["--help"])
    except SystemExit as stop:
        assert stop.code == 0
assert not {{"keras", "tensorflow", "jax", "torch", "sklearn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (UserError("the crops need 3 GB"), 2, "error: the crops need 3 GB\n"),
        (deadline.TimeIsUp(), 3, "the time is up: what is complete is kept; the same command resumes\n"),
        (KeyboardInterrupt(), 130, "interrupted: what is complete is kept; the same command resumes\n"),
        (OSError(errno.ENOSPC, "No space left", "/x"), 2, "error: no room to write /x ("),
        (OSError(errno.EFBIG, "File too large", "/x"), 2, "error: no room to write /x ("),
        (OSError("1000 requested and 24 written"), 2, "error: no room to write "),
        (OSError(errno.EACCES, "Permission denied", "/x"), 2, "error: Permission denied: /x; choose another --output"),
    ],
)
def test_mistakes_become_a_sentence_and_an_exit_code(raised, code, sentence, capsys, monkeypatch):
    monkeypatch.setattr(program, "_exit_immediately", sys.exit)  # it would end the tests, too

    def main():
        raise raised

    with pytest.raises(SystemExit) as stop:
        program.start(main)
    assert stop.value.code == code
    assert capsys.readouterr().err.startswith(sentence)


@pytest.mark.parametrize("raised", [ZeroDivisionError(), OSError(errno.EIO, "Input/output error")])
def test_our_own_mistakes_keep_their_traceback(raised):
    def main():
        raise raised

    with pytest.raises(type(raised)):
        program.start(main)


def started(*arguments: str) -> subprocess.CompletedProcess:
    """A stage as a program of its own."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=cli.OUTPUT.parent, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [(signal.SIGTERM, 143, "terminated: what is complete is kept"), (signal.SIGINT, 130, "interrupted: what is comp")],
)
def test_signals_are_exit_codes_and_a_sentence(tmp_path, sent, code, said):
    (tmp_path / "long.py").write_text(
        "import time\nfrom pipeline import program\n"
        "def main():\n    print('begun', flush=True)\n    time.sleep(60)\n"
        "program.start(main)\n"
    )
    made = subprocess.Popen(
        [sys.executable, tmp_path / "long.py"],
        env={"PYTHONPATH": str(cli.OUTPUT.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    made.stdout.readline()
    made.send_signal(sent)
    _, told = made.communicate(timeout=30)
    assert made.returncode == code
    assert told.startswith(said)
    assert told.count("\n") == 1


def test_what_does_not_resume_does_not_say_so():
    assert [name for name, command in COMMANDS.items() if not command.resumes] == [
        "status", "plan", "notebook", "similar", "unusual", "export", "serve", "test", "bench"
    ]  # fmt: skip


@pytest.mark.parametrize(("stop", "said"), [(KeyboardInterrupt, "interrupted\n"), (program.Terminated, "terminated\n")])
def test_a_command_that_keeps_nothing_does_not_promise_to_resume(stop, said, capsys):
    def main():
        raise stop

    with pytest.raises(SystemExit):
        program.start(main, resumes=False)
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_code_and_stands_in_the_help(name):
    module, _, function = COMMANDS[name].module.partition(":")
    assert callable(getattr(importlib.import_module(module), function or "main"))
    assert f"\n  {name} " in command_line.overview()


def test_the_help_fits_one_screen():
    lines = command_line.overview().splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 120


TYPED = {
    "": ("run", []),
    "demo": ("run", ["demo"]),
    "--download --input x": ("run", ["--download", "--input", "x"]),
    "run demo": ("run", ["demo"]),
    "mine.toml --force train": ("run", ["mine.toml", "--force", "train"]),
    "./mine": ("run", ["./mine"]),
    "train --plan demo": ("train", ["--plan", "demo"]),
    "status": ("status", ["--plan", "demo"]),
    "status demo --check": ("status", ["--plan", "demo", "--check"]),
    "status --plan demo": ("status", ["--plan", "demo"]),
    "plan --estimate": ("plan", ["--plan", "demo", "--estimate"]),
    "plan competition --help": ("plan", ["competition", "--help"]),
    "status --plan=demo": ("status", ["--plan=demo"]),
    "status --check laptop": ("status", ["--plan", "laptop", "--check"]),
    "status help": ("status", ["--help"]),
    "train laptop --run a": ("train", ["--plan", "laptop", "--run", "a"]),
    "search mine.toml --trials 3": ("search", ["--plan", "mine.toml", "--trials", "3"]),
    "report --compare a b": ("report", ["--compare", "a", "b"]),
    "--plan laptop --input x": ("run", ["laptop", "--input", "x"]),
    "run --plan laptop": ("run", ["laptop"]),
}


@pytest.mark.parametrize("typed", TYPED)
def test_what_is_typed_is_a_command_and_its_arguments(typed):
    assert command_line.resolve(typed.split()) == TYPED[typed]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("statsu", "did you mean status? the commands are run, inputs, "),
        ("dmeo", "did you mean demo? the commands are "),
        ("x", "the commands are run, inputs, "),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(typed, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.resolve([typed])
    assert stop.value.code == 2
    assert f"error: no command and no plan {typed!r}: {hint}" in capsys.readouterr().err


NEEDS = {
    "": "requirements.txt",
    "train --plan demo": "requirements.txt",
    "classify x --engine local": "requirements.txt",
    "status demo": "requirements.txt",
    "train --plan demo --engine ray": "requirements.txt requirements-extra.txt",
    "classify x --engine=ray": "requirements.txt requirements-extra.txt",
    "competition --download": "requirements.txt requirements-extra.txt",
    "submit --plan demo --upload": "requirements.txt requirements-extra.txt",
    "serve --ensemble x": "requirements.txt requirements-extra.txt",
    "search --help": "",
    "serve -h": "",
    "notebook --no-browser": "requirements.txt requirements-notebook.txt",
    "test --all": "requirements.txt requirements-extra.txt requirements-test.txt",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_package_where_there_is_none(name, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "find_spec", lambda package: None)
    command_line.main([name, "--help"])
    assert f"./run.sh {'[PLAN]' if name == 'run' else name}" in capsys.readouterr().out


@pytest.mark.parametrize("typed", NEEDS)
def test_packages_are_those_that_a_command_needs(typed):
    assert " ".join(command_line.requirements(typed.split())) == NEEDS[typed]


def test_a_misspelt_plan_is_exit_code_2_and_one_sentence():
    made = started("pipeline", "folds", "--plan", "dmeo")
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.startswith("error: no plan 'dmeo': give one of competition, competition-classic, demo, ")
    assert made.stderr.count("\n") == 1


def test_a_bug_is_exit_code_1(tmp_path):
    (tmp_path / "bug.py").write_text("from pipeline import program\nprogram.start(lambda: 1 / 0)\n")
    made = subprocess.run(
        [sys.executable, tmp_path / "bug.py"], env={"PYTHONPATH": str(cli.OUTPUT.parent)}, check=False
    )
    assert made.returncode == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--plan", "smoke", "--rnu", "a"], "unrecognized arguments: --rnu a; did you mean --run?"),
        (["--plan", "smoke", "--outp", "a"], "unrecognized arguments: --outp a; did you mean --output?"),
        (["--plan", "smoke", "--input", "a"], "unrecognized arguments: --input a; --help lists"),
        (["--run", "a"], "the following arguments are required: --plan"),
        (["--plan", "smoke", "--fold", "one"], "argument --fold: invalid int value: 'one'"),
    ],
)
def test_a_misspelt_flag_is_exit_code_2(flags, said, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(cli.parser("x"), flags, select=("run", "fold"))
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def request(folder, *flags: str) -> cli.Request:
    """A request for the fabricated plan."""
    fabricated.write_plan(folder)
    given = ["--plan", str(folder / "mine.toml"), "--output", str(folder / "output"), *flags]
    return cli.parse(cli.parser("x"), given, select=("run", "fold"))


def test_the_store_is_the_output_folder_and_the_name_of_the_plan(tmp_path):
    assert request(tmp_path).store.root == tmp_path / "output" / "mine"


@pytest.mark.parametrize(
    ("flags", "labels"),
    [
        ([], ["runs/a/fold0", "runs/a/fold1", "runs/b/fold0", "runs/b/fold1"]),
        (["--run", "b"], ["runs/b/fold0", "runs/b/fold1"]),
        (["--fold", "0"], ["runs/a/fold0", "runs/b/fold0"]),
        (["--run", "b", "--fold", "1"], ["runs/b/fold1"]),
    ],
)
def test_flags_select_runs_and_folds(tmp_path, flags, labels):
    asked = request(tmp_path, "--force", "--yes", *flags)
    fabricated.complete(asked.plan, asked.store)
    assert [unit.label for unit in asked.to_do(dependencies.train(asked.plan, asked.store))] == labels


def test_a_stage_with_nothing_to_do_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    asked = request(tmp_path)
    fabricated.complete(asked.plan, asked.store)
    assert not asked.to_do(dependencies.train(asked.plan, asked.store))
    assert caplog.messages == ["train      complete, nothing to do"]


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--run", "c"], ""),
        (["--fold", "2"], ", its folds are 0 to 1"),
        (["--run", "a", "--fold", "9"], ", its folds are 0 to 1"),
    ],
)
def test_flags_that_select_nothing_are_refused(tmp_path, flags, hint):
    asked = request(tmp_path, *flags)
    said = rf"^{' '.join(flags)}: nothing in plan mine matches{hint}; see `\./run\.sh status"
    with pytest.raises(UserError, match=said):
        asked.to_do(dependencies.train(asked.plan, asked.store))


def test_where_a_stage_makes_nothing_for_anybody_a_run_is_no_mistake(tmp_path):
    asked = request(tmp_path, "--run", "a")
    assert asked.to_do(iter([])) == []


def test_a_misspelt_run_is_answered_with_the_one_that_was_meant(tmp_path):
    path = fabricated.write_plan(tmp_path, ('name = "b"', 'name = "vgg16"'), ('["a", "b"]', '["a", "vgg16"]'))
    asked = cli.parse(cli.parser("x"), ["--plan", str(path), "--run", "vgg61"], select=("run",))
    with pytest.raises(UserError, match=r"--run vgg61: nothing in plan mine matches; did you mean vgg16\?; see"):
        asked.to_do(dependencies.train(asked.plan, asked.store))


def test_an_output_of_a_plan_of_ones_own_is_known_by_name(tmp_path):
    (tmp_path / "rings" / "inputs").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no plan 'rings'.*rings was made of a file rings.toml: give its path"):
        cli.parse(cli.parser("x"), ["--plan", "rings", "--output", str(tmp_path)])


def test_what_a_unit_waits_for_is_said(tmp_path):
    drawn = request(tmp_path)
    real = replace(drawn, plan=drawn.plan.model_copy(update={"sky": None}))
    for one, given in ((drawn, ""), (real, " --input DIR")):
        again = rf"`\./run\.sh run --plan \S*mine.toml --output \S*{given}`"
        said = rf"^runs/a/fold0 waits for inputs, which is missing .*\): {again} makes"
        with pytest.raises(UserError, match=said):
            one.to_do(dependencies.train(one.plan, one.store))


def test_the_output_folder_may_be_relative_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given in ("out", "~/out"):
        made = cli.parse(cli.parser("x"), ["--plan", "smoke", "--output", given])
        assert made.store.root == Store(tmp_path / "out" / "smoke").root


def test_a_stage_that_fails_leaves_no_lock(tmp_path):
    def main():
        locks.acquire(tmp_path / ".it.lock")
        raise UserError("no")

    with pytest.raises(SystemExit):
        program.start(main)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lines", [1, 5000], ids=["what stays in the buffer", "more than a buffer"])
def test_a_reader_that_ends_early_is_no_error(lines):
    code = f"from pipeline import program\nprogram.start(lambda: print('line\\n' * {lines}))"
    made = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -c "{code}" | true'],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (made.returncode, made.stderr) in ((141, ""), (0, ""))


@pytest.mark.parametrize("typed", ["plan smoke", "status smoke", "train --plan smoke"])
def test_a_python_without_the_packages_is_told_in_one_sentence(typed):
    """As where --here takes the Python that is active."""
    made = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(cli.OUTPUT.parent)!r}); "
         f"from pipeline.__main__ import main; main({typed.split()!r})"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert made.returncode == 2
    assert re.fullmatch(rf"error: {re.escape(sys.executable)} has no package \w+: .* leave out --here.*\n", made.stderr)
