"""The command line: `./run.sh COMMAND …`, which is `python -m pipeline COMMAND …` in an environment with its packages.

One table lists the commands. It and `--help` need no package, so that run.sh can ask, by `--requirements`, which
packages a command needs before it hands over.
"""

import ast
import difflib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

PLANS = Path(__file__).parent / "plans"
BASE, EXTRA, TEST = "requirements.txt", "requirements-extra.txt", "requirements-test.txt"
NOTEBOOK = "requirements-notebook.txt"


class Command(NamedTuple):
    """One command: its group in the help, its usage, its help line and its module."""

    group: str
    usage: str
    help: str
    module: str  # with a function `main(argv)`, or module:function
    extra: tuple[str, ...] = ()  # words on the command line that need requirements-extra.txt; "": always


def _stage(name: str, help: str, *extra: str) -> Command:
    return Command("stages", "--plan PLAN", help, f"pipeline.stages.{name}", extra)


def _command(group: str, usage: str, help: str, name: str, *extra: str) -> Command:
    return Command(group, usage, help, f"pipeline.commands.{name}", extra)


COMMANDS = {
    "run": _command("run", "[PLAN] [OPTIONS]", "all stages of a plan, the demo by default", "run", "--download"),
    "inputs": _stage("inputs", "find and check the competition's files, or render synthetic ones"),
    "folds": _stage("folds", "assign every training galaxy to a fold"),
    "crops": _stage("crops", "the central part of every image, as arrays"),
    "baselines": _stage("baselines", "mean, central pixel, ridge, random forest, SVM"),
    "train": _stage("train", "train every run once per fold", "ray"),
    "predict": _stage("predict", "predict held-out and test galaxies"),
    "insight": _stage("insight", "activations, Grad-CAM, a map of the features"),
    "ensemble": _stage("ensemble", "blend the runs"),
    "submit": _stage("submit", "write submissions; with --upload send one to Kaggle", "--upload"),
    "report": _stage("report", "leaderboard and report; --compare two outputs"),
    "status": _command("look", "[PLAN] [--check]", "complete, missing and outdated artifacts, and why", "status"),
    "plan": _command("look", "[PLAN] [--estimate]", "what a plan trains; with --estimate what it costs", "estimate"),
    "notebook": _command("look", "[JUPYTER'S FLAGS]", "install JupyterLab and open the notebooks", "notebook"),
    "classify": _command("use", "CATALOGUE --ensemble E --to TABLE", "classify unlabelled galaxies", "classify", "ray"),
    "export": _command("use", "--ensemble E --to DIR", "the ensemble as ONNX or SavedModel", "export", ""),
    "serve": _command("use", "--ensemble E", "a web page that classifies one image", "serve", ""),
    "search": _command("search", "--plan PLAN --run R --trials N", "search better settings of a run", "search", ""),
    "download": _command("kaggle", "[--to DIR]", "the competition's files, by your account", "download", ""),
    "kaggle-notebook": _command("kaggle", "[PLAN]", "the whole plan inside a Kaggle notebook", "kaggle_notebook"),
    "test": _command("develop", "[--all]", "ruff and pytest; --all adds the slow tests", "develop:test"),
    "bench": _command("develop", "[--quick] [--gpu]", "each stage against its upper bound", "develop:bench"),
}  # fmt: skip
GROUPS = {
    "run": "Run",
    "stages": "One stage of it, as far as --run and --fold select",
    "look": "Look",
    "use": "Use a finished ensemble (E is OUTPUT/PLAN/ensembles/NAME)",
    "search": "Search",
    "kaggle": "Kaggle",
    "develop": "Develop",
}
HELP = ("-h", "--help", "help")
USAGE = "usage: ./run.sh [--locked | --here] [COMMAND] …      ./run.sh COMMAND --help says more\n"
OPTIONS = """\
    --input DIR  --weights BACKBONE=FILE  --download   the competition's files, first weights; or fetch the files first
    --output DIR  --resume-from DIR                    where artifacts go; start from an earlier session
    --max-hours H  --workers N  --force STAGE          stop in time; folds at a time; rebuild a stage"""
SETUP = """
  --locked   installs the exact versions of requirements.lock, checked by their hashes
  --here     uses the active Python and installs nothing"""


def plans() -> list[str]:
    """Names of the plans that are shipped."""
    return sorted(path.stem for path in PLANS.glob("*.toml"))


def names_a_plan(word: str) -> bool:
    """Whether that is what a word on the command line does."""
    return word in plans() or word.endswith(".toml") or "/" in word


def resolve(words: list[str]) -> tuple[str, list[str]]:
    """(name of the command, its arguments) of what was typed; exit code 2 where there is no such command or plan."""
    if not words or names_a_plan(words[0]) or words[0].startswith("-"):
        return "run", words
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        _unknown(name)
    command = COMMANDS[name]
    plan_first = command.group == "look" and command.usage.startswith("[PLAN]")
    if plan_first and not {"--plan", *HELP} & set(rest):
        first = [] if rest and not rest[0].startswith("-") else ["demo"]
        rest = ["--plan", *first, *rest]
    return name, rest


def _unknown(name: str) -> NoReturn:
    near = difflib.get_close_matches(name, [*COMMANDS, *plans()], 1)
    known = f"did you mean {near[0]}?" if near else f"the plans are {', '.join(plans())}, or the path of a TOML file;"
    print(f"error: no command and no plan {name!r}: {known} ./run.sh --help lists the commands", file=sys.stderr)
    sys.exit(2)


def requirements(words: list[str]) -> list[str]:
    """Files with the packages that this command line needs."""
    name, rest = resolve(words)
    if COMMANDS[name].group == "develop":
        return [BASE, EXTRA, TEST]
    if name == "notebook":
        return [BASE, NOTEBOOK]
    flags = {word.partition("=")[0] for word in rest} | {word.partition("=")[2] for word in rest} | {*rest, ""}
    return [BASE, EXTRA] if flags & set(COMMANDS[name].extra) else [BASE]


def overview() -> str:
    """The commands in groups, on one screen."""
    lines = [USAGE]
    for group, title in GROUPS.items():
        lines.append(f"{title}:")
        listed = {name: command for name, command in COMMANDS.items() if command.group == group}
        lines += [f"  {f'{name} {c.usage}' if group != 'stages' else name:<44}{c.help}" for name, c in listed.items()]
        lines += [OPTIONS] if group == "run" else []
    lines.append(SETUP)
    lines.append(f"\nPlans: {', '.join(plans())}, or the path of a TOML file.")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    """Run a command line."""
    if words[:1] == ["--requirements"]:
        print(*requirements(words[1:]))
        return
    if words and words[0] in HELP:
        if len(words) == 1 or words[0] != "help":
            print(overview())
            return
        words = [*words[1:], "--help"]
    name, rest = resolve(words)
    sys.argv = [f"run.sh {name}", *rest]
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "30")  # in a log, a line of progress every half minute
    from pipeline import cli

    cli.start(lambda: _entry(name)(rest))


def _entry(name: str) -> Callable[[list[str]], None]:
    """The function of a command; its module has its docstring, which is its help, also under `python -OO`."""
    place, _, function = COMMANDS[name].module.partition(":")
    module = importlib.import_module(place)
    if module.__doc__ is None:
        module.__doc__ = ast.get_docstring(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
    return getattr(module, function or "main")


if __name__ == "__main__":
    main(sys.argv[1:])
