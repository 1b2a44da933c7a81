"""The flags that all stages share, what they select, and the question before work is discarded."""

import argparse
import contextlib
import logging
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline import program
from pipeline.errors import Damaged, UserError, meant
from pipeline.execution import deadline, locks
from pipeline.plans.config import Plan, load_plan
from pipeline.store import backbone_graphs, dependencies, folders, staleness, takeover
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact
from pipeline.store.unit import to_do

log = logging.getLogger(__name__)
OUTPUT = Path(__file__).parent.parent / "output"
LONGEST_WHY = 100  # characters of why a run failed, which `status` tells in full


@dataclass(frozen=True)
class Request:
    """The parsed command line of a stage."""

    plan: Plan
    store: Store
    options: argparse.Namespace

    def to_do(self, units: Iterator[dependencies.Unit]) -> list[dependencies.Unit]:
        """The `units` that the flags select and that still must be made; what that discards is said first."""
        selected = list(self._selected(units))
        if not self.options.force:
            takeover.take_over(selected, self.plan, self.store)
        todo = to_do(selected, self.store.command, force=self.options.force)
        self.require(todo)
        self._discard(todo)
        if todo:
            self._warn_of_stale_sources(todo)
            self.store.require_space(0, f"the files of stage {todo[0].stage}")
        elif selected and selected[0].stage != "inputs":  # which says what there is
            self._tell_nothing_to_do(selected)
        return todo

    def _tell_nothing_to_do(self, selected: list[dependencies.Unit]) -> None:
        """Say that these are complete; UserError where they wait for earlier stages, which are to run again first."""
        stage, labels = selected[0].stage, {unit.label for unit in selected}
        stale = {label: why for label, all_why in self._stale(stage) if label in labels and (why := _wrong(all_why))}
        if not stale:
            log.info("%-10s complete, nothing to do", stage)
        elif stage != "report" and not vars(self.options).get("upload"):  # both say of each what is outdated
            roots = list(dict.fromkeys(root for why in stale.values() for root in why))
            raise UserError(
                f"{stage}: {len(stale)} of {len(selected)} OUTDATED, and earlier stages are to run first: "
                f"{_listed(roots)}; {self.store.command('status')} says more"
            )

    def _warn_of_stale_sources(self, todo: list[dependencies.Unit]) -> None:
        """Say what of that which these are made from is not as the plan wants it."""
        stage, making = todo[0].stage, [unit.artifact for unit in todo]
        walk = staleness.Walk()
        for unit in self._units_up_to(stage):
            if unit.artifact not in making:
                walk.state(unit)
        if roots := _wrong(list(dict.fromkeys(root for unit in todo for root in walk.roots(unit)))):
            more = f"{self.store.command('status')} says more"
            log.warning("%-10s is made from what is OUTDATED: %s; %s", stage, _listed(roots), more)

    def _discard(self, todo: list[dependencies.Unit]) -> None:
        """Say what work is lost by making these units; UserError where that is much and the user does not agree."""
        there = [unit for unit in todo if staleness.has_result(unit)]  # of a damaged one nothing is lost
        rebuilt = [u.artifact for u in there if u.artifact.exists() or self.options.force or staleness.starts_over(u)]
        if rebuilt:
            units = staleness.everything(self.plan, self.store)
            agree_to_discard(staleness.discarded(units, lambda unit: unit.artifact in rebuilt), rebuilt, self.options)

    def warn_of_stale(self, stage: str) -> None:
        """Say which artifacts of a stage are complete, but made from what is not as the plan wants it."""
        for label, why in self._stale(stage):
            more = f"{self.store.command('status')} says more"
            log.warning("%-10s %s is OUTDATED: %s; %s", stage, label, "; ".join(why[:3]), more)

    def _stale(self, stage: str) -> Iterator[tuple[str, list[str]]]:
        """(label, why) of the units of a stage that are complete, but made from what is not as the plan wants it."""
        walk = staleness.Walk()
        for unit in self._units_up_to(stage):
            state, why = walk.state(unit)
            if unit.stage == stage and state == "outdated":
                yield unit.label, why

    def _units_up_to(self, stage: str) -> Iterator[dependencies.Unit]:
        """All units of this stage and of those before it."""
        for one in dependencies.STAGES:
            yield from dependencies.units_of(one, self.plan, self.store)
            if one == stage:
                return

    def without_failed_runs(self) -> "Request":
        """The request without failed runs; UserError where no ensemble is left, or a backbone graph has changed."""
        failed = dependencies.failed_runs(self.plan, self.store)
        plan = self.plan.without(failed)
        if not plan.ensembles:
            raise UserError(f"nothing is left of {self.plan.name}: {'; '.join(f'{r}, {w}' for r, w in failed.items())}")
        for run, why in failed.items():
            log.warning("%s is left out: %s", run, textwrap.shorten(why, LONGEST_WHY, placeholder=" …"))
        backbone_graphs.require_graphs(plan, self.store)
        return Request(plan, self.store, self.options)

    def for_a_run(self) -> "Request":
        """The request where --run, which names an ensemble, may name a run: see `dependencies.with_runs_alone`."""
        plan = dependencies.with_runs_alone(self.plan, self.store, self.options.run)
        return Request(plan, self.store, self.options)

    def of_what_exists(self) -> "Request":
        """The request for the part of the plan that can be reported; the whole where no run is complete."""
        return Request(dependencies.existing_part(self.plan, self.store), self.store, self.options)

    def require(self, todo: list[dependencies.Unit]) -> None:
        """UserError where a source of these units is missing, being made or damaged."""
        making = [unit.artifact for unit in todo]
        for unit in todo:
            for name, source in (unit.sources | unit.reads).items():
                if source in making:
                    continue
                try:
                    found = source.record() is not None
                    if found:
                        source.verify()
                except Damaged as error:
                    raise Damaged(f"{unit.label} cannot be made from {name}: {error}") from None
                if not found:
                    locks.require_free(source.lock)
                    raise UserError(
                        f"{unit.label} waits for {name}, which is missing ({source.record_path}): "
                        f"{self._command_for_missing(unit)} makes what is missing, {self.store.command('status')} "
                        f"lists it"
                    )

    def _command_for_missing(self, unit: dependencies.Unit) -> str:
        """The command that makes all that a unit waits for; of an ensemble of one run only --run does."""
        given = [] if self.plan.sky or self.store.inputs().exists() else ["--input", "DIR"]
        named = getattr(self.options, "run", None)
        alone = ["--run", named] if unit.run == named and named in [run.name for run in self.plan.runs] else []
        return self.store.command("run", *alone, *given)

    def _selected(self, units: Iterable[dependencies.Unit]) -> Iterator[dependencies.Unit]:
        units, selection = list(units), [(n, getattr(self.options, n, None)) for n in ("run", "fold")]
        selection = [(name, value) for name, value in selection if value is not None]
        found = [unit for unit in units if all(getattr(unit, name) == value for name, value in selection)]
        if selection and units and not found:
            flags = " ".join(f"--{name} {value}" for name, value in selection)
            raise UserError(
                f"{flags}: nothing in plan {self.plan.name} matches{self._meant(units)}; see "
                f"{self.store.command('status')}"
            )
        return iter(found)

    def _meant(self, units: list[dependencies.Unit]) -> str:
        given, known = getattr(self.options, "run", None), {unit.run for unit in units if unit.run}
        if given is not None and given not in known:
            return meant(given, known)
        folds = [unit.fold for unit in units if unit.fold is not None]
        return f", its folds are {min(folds)} to {max(folds)}" if folds else ""


def _wrong(roots: list[str]) -> list[str]:
    """Those of what makes something stale that may have made it other than the plan wants it."""
    return [root for root in roots if not root.endswith(" is missing")]


def _listed(sentences: list[str]) -> str:
    """The first of them."""
    return "; ".join(sentences[:3]) + " …" * (len(sentences) > 3)


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one sentence, without the usage; flags are not to be abbreviated."""

    def __init__(self, **more: Any):
        super().__init__(**{"prog": f"./{Path(sys.argv[0]).name}"} | more | {"allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """See the class."""
        wrong = re.search(r"unrecognized arguments: (--[^\s=]+)", message)
        near = meant(wrong[1], self._option_string_actions) if wrong else ""
        self.exit(2, f"error: {message}{near or ';'} --help lists all flags\n")


def parser(contract: str | None, *, makes: bool = True) -> argparse.ArgumentParser:
    """A parser whose --help is the command's contract (its module docstring); `makes`: with the flags of what is made.

    A plan may also stand first, without --plan: see `pipeline.__main__`.
    """
    parser = Parser(description=contract, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = "name of a shipped plan, or path of a TOML file; as the first word it needs no --plan"
    parser.add_argument("--plan", required=True, help=which)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="parent folder of the plans' outputs")
    if not makes:
        parser.set_defaults(force=False, yes=False, until=None)
        return parser
    parser.add_argument("--force", action="store_true", help="rebuild what exists")
    parser.add_argument("--yes", action="store_true", help="agree beforehand to what would be asked")
    parser.add_argument("--until", type=float, metavar="SECONDS", help="stop by this Unix time, to resume later")
    return parser


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None, select: tuple[str, ...] = (), of: str = "run"
) -> Request:
    """Read the command line; `select` names the flags that choose among the units ('run', 'fold').

    `of`: what --run names.
    """
    if "run" in select:
        parser.add_argument("--run", help=f"only the {of} of this name")
    if "fold" in select:
        parser.add_argument("--fold", type=int, help="only this fold (from 0)")
    options = parser.parse_args(argv)
    output = options.output.expanduser().resolve()
    plan = _plan(options.plan, output)
    program.writes_to(output)
    folders.check("--output", output)
    if options.until is not None:
        deadline.begin(options.until)
    where = () if output == OUTPUT.resolve() else ("--output", str(options.output))
    store = Store(output / plan.name, ("--plan", options.plan, *where))
    return Request(_for_labels(plan, store), store, options)


def _plan(name: str, output: Path) -> Plan:
    """The plan of that name or path; UserError also says where its output is there under that name."""
    try:
        return load_plan(name)
    except UserError as error:
        if re.fullmatch(r"[\w.-]+", name) and not name.endswith(".toml") and (output / name / "inputs").is_dir():
            raise UserError(f"{error}; {output / name} was made of a file {name}.toml: give its path") from None
        raise


def _for_labels(plan: Plan, store: Store) -> Plan:
    """The plan for the labels that stage 0 recorded; as it is where that has not run, or its record is damaged."""
    with contextlib.suppress(Damaged):  # which is told where the record is needed
        return plan.for_schema(store.schema())
    return plan


def require_with(parser: argparse.ArgumentParser, options: argparse.Namespace, **needed: str) -> None:
    """The parser's error where a flag is given without the one that it goes with: `top="most_likely"`."""
    for flag, other in needed.items():
        if getattr(options, flag) is not None and not getattr(options, other):
            flags = (f"--{name.replace('_', '-')}" for name in (flag, other))
            parser.error("{} goes with {}, which is not given".format(*flags))


def agree_to_discard(lost: list[dependencies.Unit], rebuilt: list[Artifact], options: argparse.Namespace) -> None:
    """Say what is lost: what is `rebuilt`, and what is made from it. UserError where the user does not agree."""
    own = [unit for unit in lost if unit.artifact in rebuilt]
    made_from_it = [unit for unit in lost if unit.artifact not in rebuilt]
    text = f"rebuilding discards {staleness.described(own)}" if own else "something is rebuilt"
    if options.yes or not staleness.needs_agreement(lost):
        if own:
            log.info("%-10s %s", own[0].stage, text)
        return
    if made_from_it:
        text += f", and, where that comes out different, what is made from it: {staleness.described(made_from_it)}"
    require_agreement(text)


def agree_to_lose(stage: str, seconds: float, what: str, *, yes: bool) -> None:
    """Say what work of so many seconds is discarded; UserError where that is much and the user does not agree."""
    if not yes and seconds > staleness.FREE:
        require_agreement(f"rebuilding discards {what}")
    elif what:
        log.info("%-10s rebuilding discards %s", stage, what)


def require_agreement(what_is_lost: str) -> None:
    """UserError where the user does not agree."""
    if not agreed(f"{what_is_lost}. Go on?"):
        raise UserError("nothing was discarded")


def agreed(question: str) -> bool:
    """Whether the user says yes; UserError without a terminal."""
    if not sys.stdin.isatty():
        raise UserError(f"{question} No terminal to ask on: add --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
