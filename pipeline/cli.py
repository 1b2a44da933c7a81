"""The flags that all stages share, logging, signals and exit codes.

0 done, 1 our mistake, 2 the user's, 3 the time is up (--until), 130 interrupted from the keyboard, 143 terminated.
"""

import argparse
import errno
import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.errors import Damaged, Defect, UserError
from pipeline.execution import deadline, locks
from pipeline.plans.config import Plan, load_plan
from pipeline.store import backbone_graphs, dependencies
from pipeline.store.artifacts import Store

log = logging.getLogger(__name__)
# how HDF5 and numpy tell of a full disk, without its number
FULL = ("No space left", "errno = 28", "File too large", "errno = 27", " requested and ")
OUTPUT = Path(__file__).parent.parent / "output"
_output = OUTPUT  # where this process writes


@dataclass(frozen=True)
class Request:
    """What the command line asks of a stage."""

    plan: Plan
    store: Store
    options: argparse.Namespace

    def to_do(self, made: Iterator[dependencies.Unit]) -> list[dependencies.Unit]:
        """The units of `made` that the flags select and that still must be made."""
        todo = dependencies.to_do(self._selected(made), self.options.plan, force=self.options.force)
        self.require(todo)
        if todo:
            self.store.require_space(0, f"the files of stage {todo[0].stage}")
        return todo

    def without_failed_runs(self) -> "Request":
        """The same of the runs that could be trained; UserError where none could, or a network has changed since."""
        failed = dependencies.failed_runs(self.plan, self.store)
        plan = self.plan.without(failed)
        if not plan.ensembles:
            raise UserError(f"nothing is left of {self.plan.name}: {'; '.join(f'{r}, {w}' for r, w in failed.items())}")
        for run, why in failed.items():
            log.warning("%s is left out: %s", run, why)
        backbone_graphs.require_graphs(plan, self.store)
        return Request(plan, self.store, self.options)

    def require(self, todo: list[dependencies.Unit]) -> None:
        """UserError where something that these units are made from is missing or is not what was written."""
        making = [unit.artifact for unit in todo]
        for unit in todo:
            for name, source in (unit.sources | unit.reads).items():
                if source in making:
                    continue
                try:
                    there = source.record() is not None
                    if there:
                        source.verify()
                except Damaged as error:
                    raise Damaged(f"{unit.label} cannot be made from {name}: {error}") from None
                if not there:
                    raise UserError(
                        f"{unit.label} waits for {name}, which is missing ({source.record_path}): `./run.sh "
                        f"{self.options.plan}` makes what is missing, `./run.sh status {self.options.plan}` lists it"
                    )

    def _selected(self, made: Iterator[dependencies.Unit]) -> Iterator[dependencies.Unit]:
        wanted = [(n, getattr(self.options, n, None)) for n in ("run", "fold")]
        wanted = [(name, value) for name, value in wanted if value is not None]
        found = [unit for unit in made if all(getattr(unit, name) == value for name, value in wanted)]
        if wanted and not found:
            flags = " ".join(f"--{name} {value}" for name, value in wanted)
            raise UserError(f"{flags}: plan {self.plan.name} has none such; see `./run.sh status {self.plan.name}`")
        return iter(found)


class Parser(argparse.ArgumentParser):
    """Mistakes in flags are told in one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """See the class."""
        self.exit(2, f"error: {message}; --help lists all flags\n")


def parser(contract: str | None) -> argparse.ArgumentParser:
    """A parser whose --help is the stage's contract (its module docstring)."""
    made = Parser(description=contract, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--plan", required=True, help="name of a shipped plan, or path of a TOML file")
    made.add_argument("--output", type=Path, default=OUTPUT, help="where plans keep their artifacts")
    made.add_argument("--force", action="store_true", help="make anew what is there already")
    made.add_argument("--until", type=float, metavar="SECONDS", help="stop in time for this Unix time, to go on later")
    return made


def parse(made: argparse.ArgumentParser, argv: list[str] | None, select: tuple[str, ...] = ()) -> Request:
    """Read the command line; `select` names the flags that choose among the units ('run', 'fold')."""
    if "run" in select:
        made.add_argument("--run", help="only the run, baseline or ensemble of this name")
    if "fold" in select:
        made.add_argument("--fold", type=int, help="only this fold (from 0)")
    global _output
    options = made.parse_args(argv)
    plan = load_plan(options.plan)
    _output = options.output.expanduser().resolve()
    _check_folder(_output)
    if options.until is not None:
        deadline.begin(options.until)
    where = () if _output == OUTPUT.resolve() else ("--output", str(options.output))
    return Request(plan, Store(_output / plan.name, ("--plan", options.plan, *where)), options)


def _check_folder(output: Path) -> None:
    """UserError where no folder can be made at this path."""
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"--output {output}: {there} is a file; expected a folder, or a place for a new one")


class Terminated(BaseException):
    """SIGTERM: the machine is about to be taken away, or somebody wants the process to end."""


def _terminate(signum: int, frame: object) -> None:
    raise Terminated


def _once_more(told: Callable[..., None]) -> Callable[..., None]:
    """A hook of Python's that is silent where HDF5 fails again, closing a file for which there was no room."""

    def hook(*arguments: object) -> None:
        if not any(said in str(getattr(a, "exc_value", a)) for a in arguments for said in FULL):
            told(*arguments)

    return hook


def _leave(code: int) -> None:
    """End at once: HDF5 crashes where Python lets go of a file for which there was no room."""
    locks.release_all()
    os._exit(code)


def _be_robust() -> None:
    """Let no alphabet of a terminal end a run, nor warnings that PYTHONWARNINGS makes into errors."""
    sys.stdout.reconfigure(errors="replace")  # stderr writes escapes as it is
    if any(option.startswith("error") for option in sys.warnoptions):  # by PYTHONWARNINGS: libraries warn as they go
        warnings.simplefilter("default")
        sys.warnoptions.clear()  # worker processes take them over
        os.environ.pop("PYTHONWARNINGS", None)


def start(main: Callable[[], None]) -> None:
    """Run a stage's main as a program: logging to stderr, mistakes as one sentence and an exit code."""
    _be_robust()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    sys.excepthook, sys.unraisablehook = _once_more(sys.__excepthook__), _once_more(sys.__unraisablehook__)
    try:
        main()
    except UserError as error:
        if deadline.caused(error):
            _time_is_up()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Defect as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: what is complete is kept; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except deadline.TimeIsUp:
        _time_is_up()
    except Terminated:
        print("terminated: what is complete is kept; the same command goes on from there", file=sys.stderr)
        sys.exit(143)
    except OSError as error:
        told = _told(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr, flush=True)
        _leave(2)
    except Exception as error:
        if deadline.caused(error):
            _time_is_up()
        raise
    finally:
        deadline.end()
        locks.release_all()


def _time_is_up() -> NoReturn:
    print("the time is up: what is complete is kept; the same command goes on from there", file=sys.stderr)
    sys.exit(3)


def _told(error: OSError) -> str | None:
    """The sentence for what the user can mend: a full disk, a place that may not be written to; None for others."""
    where = Path(error.filename or _output)
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{error.strerror}: {where}; choose an --output that you may write to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(said in str(error) for said in FULL):
        there = next(path for path in (where, *where.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        return (
            f"no room to write {where} ({free / 1e6:,.0f} MB free). What is complete is kept: make room and give the "
            f"same command again, or choose another --output"
        )
    return None
