"""The command line: `./run.sh COMMAND …`, which is `python -m pipeline COMMAND …` in an environment with its packages.

One table lists the commands. It and `--help` need no package, so that run.sh can ask, by `--requirements`, which
packages a command needs before it hands over.
"""

import ast
import difflib
import importlib
import sys
import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
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

    @property
    def resumes(self) -> bool:
        """Whether it goes on where it was stopped."""
        return self.group not in ("look", "develop") and self.module.rpartition(".")[2] not in AT_ONCE


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
    "embed": _command("use", "CATALOGUE --run R --to DIR", "features of galaxies, by a trained run", "embed", "ray"),
    "similar": _command("use", "--to DIR --id ID", "the galaxies most like one, by their features", "similar"),
    "unusual": _command("use", "--to DIR", "the most unusual galaxies, by their features", "unusual"),
    "export": _command("use", "--ensemble E --to DIR", "the ensemble as ONNX, SavedModel or LiteRT", "export", ""),
    "card": _command("use", "--plan PLAN [--to FILE]", "a model card: scores, data, caveats", "card"),
    "serve": _command("use", "--ensemble E", "a web page that classifies one image", "serve", ""),
    "label": _command("label", "PLAN [--input DIR]", "a web page where people label what teaches most", "label", ""),
    "search": _command("search", "--plan PLAN --run R --trials N", "search better settings of a run", "search", ""),
    "label-efficiency": _command("search", "--plan PLAN", "score against number of labels", "label_efficiency"),
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
    "label": "Label",
    "search": "Search settings; measure what labels are worth",
    "kaggle": "Kaggle",
    "develop": "Develop",
}
HELP = ("-h", "--help", "help")
PLAN_FIRST = ("stages", "look", "use", "label", "search")  # groups of commands whose plan may stand without --plan
AT_ONCE = ("serve", "export", "similar", "unusual")  # modules of commands that keep nothing of what was not completed
NEEDED = ("numpy", "pandas", "pydantic", "tqdm")  # packages without which no module of a command can be imported
WITHOUT_PACKAGES = ("The flags are listed here once the packages are installed, by whichever other command.",)
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
        return "run", with_plan("run", words)
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        _unknown(name)
    if rest == ["help"]:
        return name, ["--help"]
    command = COMMANDS[name]
    return name, with_plan(command.group if "PLAN" in command.usage else "", rest)


def with_plan(group: str, rest: list[str]) -> list[str]:
    """The arguments with --plan before a plan that stands alone; `status` and `plan` are of the demo without one."""
    if group == "run" and rest[:1] == ["--plan"]:
        return rest[1:]
    if group not in PLAN_FIRST or asks_for_help(rest) or any(word.partition("=")[0] == "--plan" for word in rest):
        return rest
    if rest and not rest[0].startswith("-"):
        return ["--plan", *rest]
    for before, word in pairwise(rest):
        if word in plans() and before in ("--check", "--estimate", "--force", "--yes"):
            return ["--plan", word, *(other for other in rest if other is not word)]
    return ["--plan", "demo", *rest] if group == "look" else rest


def asks_for_help(words: list[str]) -> bool:
    """Whether a command is asked what it does."""
    return bool({"-h", "--help"} & set(words))


def _unknown(name: str) -> NoReturn:
    near = difflib.get_close_matches(name, [*COMMANDS, *plans()], 1)
    meant = f"did you mean {near[0]}? " if near else ""
    known = f"the commands are {', '.join(COMMANDS)}; the plans {', '.join(plans())}, or the path of a TOML file"
    print(f"error: no command and no plan {name!r}: {meant}{known}; ./run.sh --help says more", file=sys.stderr)
    sys.exit(2)


def requirements(words: list[str]) -> list[str]:
    """Files with the packages that this command line needs; none for help."""
    name, rest = resolve(words)
    if asks_for_help(rest):
        return []
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
    names = f"Plans: {', '.join(plans())}, or the path of a TOML file."
    lines += ["", *textwrap.wrap(names, 100, break_on_hyphens=False, subsequent_indent="  ")]
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
    if asks_for_help(rest) and any(find_spec(package) is None for package in NEEDED):
        print(_contract(COMMANDS[name].module), *WITHOUT_PACKAGES, sep="\n")
        return
    from pipeline import program

    program.start(lambda: _entry(name)(rest), resumes=COMMANDS[name].resumes)


def _entry(name: str) -> Callable[[list[str]], None]:
    """The function of a command; its module has its docstring, which is its help, also under `python -OO`."""
    place, _, function = COMMANDS[name].module.partition(":")
    module = importlib.import_module(place)
    if module.__doc__ is None:
        module.__doc__ = _contract(place)
    return getattr(module, function or "main")


def _contract(module: str) -> str | None:
    """The docstring of a command's module, read without importing it."""
    path = Path(__file__).parents[1].joinpath(*module.partition(":")[0].split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1:])
