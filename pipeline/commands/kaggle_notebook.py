"""The whole plan inside a Kaggle notebook: attached inputs are found, outputs are kept for the next session.

reads   /kaggle/input: the competition's files; weights under Keras's names; wheels (*.whl) of packages that Kaggle's
        image lacks; the output of an earlier session of this notebook
writes  /kaggle/working/output/<plan>, and beside it submission.csv and report.html once they are made

A notebook session ends after 12 hours: --max-hours stops before, between epochs. Save the version and attach its output
to the next one, which resumes it. No network is needed. Every GPU trains folds of its own.

    ./run.sh kaggle-notebook [PLAN] [--max-hours H] [--resume-from DIR] [--root /kaggle]
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from pipeline import cli
from pipeline.competition import source_files
from pipeline.core import flag_types
from pipeline.errors import UserError
from pipeline.execution import engines
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import Plan, load_plan
from pipeline.store import resume

log = logging.getLogger(__name__)
PROJECT_ROOT = Path(__file__).parents[2]
MAX_DEPTH = 5  # folders below /kaggle/input: competitions/<slug>, datasets/<owner>/<name>/<folder>, …
IMPORTED_AS = {"opencv-python": "cv2", "scikit-learn": "sklearn", "pyyaml": "yaml"}
UNUSED = ("keras-cv",)  # by the shipped plans: a run's augment.policy asks for it
OF_WEIGHTS = {row.package.partition("==")[0] for row in BACKBONES.values() if row.package}
TIME_IS_UP = 3  # run.sh's exit code


def folders(root: Path, max_depth: int = MAX_DEPTH) -> Iterator[Path]:
    """`root` and the folders in it, breadth first; image folders are skipped."""
    below = [root]
    for _ in range(max_depth + 1):
        yield from below
        below = [path for folder in below for path in sorted(folder.iterdir()) if path.is_dir()]
        below = [path for path in below if not path.name.lower().startswith("images_")]


def find_competition(attached: list[Path]) -> Path | None:
    """The folder that holds the competition's four files."""
    for folder in attached:
        try:
            source_files.find(folder)
        except UserError:
            continue
        return folder
    return None


def find_weights(attached: list[Path], plan: Plan) -> dict[str, Path]:
    """backbone -> its ImageNet file, under the name that Keras gives it."""
    found = {}
    for name in sorted({run.backbone for run in plan.runs}):
        pattern = BACKBONES[name].weights_file.format(size="*")
        paths = [path for folder in attached for path in sorted(folder.glob(pattern))]
        found |= {name: paths[0]} if paths else {}
    return found


def find_earlier(attached: list[Path], plan: Plan) -> Path | None:
    """The latest output of the plan that is attached."""
    found = {place for folder in attached if (place := resume.find(folder, plan.name)) and place.name == plan.name}
    return max(found, key=lambda place: max(path.stat().st_mtime for path in place.rglob("*.json")), default=None)


def unmet_requirements() -> dict[Requirement, str | None]:
    """Requirements that this Python does not meet -> the version that it has instead; None: none at all."""
    lines = (PROJECT_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]
    found = {r: _version(r.name) for r in required if r.name not in UNUSED}
    return {r: version for r, version in found.items() if version is None or not r.specifier.contains(version, True)}


def _version(name: str) -> str | None:
    """Of a package that can be imported, also of a variant of another name (tensorflow-cpu); None where it cannot."""
    module = IMPORTED_AS.get(name, name.replace("-", "_"))
    if not find_spec(module):
        return None
    built = metadata.packages_distributions().get(module, [name])
    return metadata.version(name if name in built else built[0])


def install_unmet(attached: list[Path]) -> None:
    """Install unmet requirements from attached wheels.

    UserError where a package stays missing; where one stays of another version, a warning.
    """
    wheels = [f"--find-links={folder}" for folder in attached if next(folder.glob("*.whl"), None)]
    missing = []
    for requirement, version in unmet_requirements().items():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", *wheels, str(requirement)]
        if wheels and not subprocess.run(command, capture_output=True).returncode:
            log.info("%-10s %s installed from attached wheels", "kaggle", requirement)
        elif version is None and requirement.name in OF_WEIGHTS:
            continue  # an attached file does as well, and the run itself says where its backbone has neither
        elif version is None:
            missing.append(requirement.name)
        else:
            log.warning("%-10s this notebook has %s %s; the project was tested with %s", "kaggle", requirement.name,
                        version, requirement)  # fmt: skip
    if missing:
        names = " ".join(missing)
        raise UserError(
            f"this notebook lacks the packages {', '.join(missing)}: elsewhere, with the same version of Python, run "
            f"`pip download {names} --no-deps --dest wheels`, upload that folder as a dataset and attach it"
        )


def flags(options: argparse.Namespace, plan: Plan, attached: list[Path]) -> list[str]:
    """Flags of `./run.sh` for the attached inputs; UserError where the competition's files are needed and missing."""
    files = find_competition(attached)
    if files is None and plan.sky is None:
        raise UserError(
            f"nothing below {options.root / 'input'} holds the competition's files: attach them by Add Input > "
            f"Competitions > {source_files.SLUG}, whose rules must have been accepted"
        )
    earlier = options.resume_from or find_earlier(attached, plan)
    flags = [options.plan, "--output", str(options.root / "working" / "output")]
    flags += ["--input", str(files)] if files else []
    for name, path in find_weights(attached, plan).items():
        flags += ["--weights", f"{name}={path}"]
    flags += ["--resume-from", str(earlier)] if earlier else []
    flags += ["--workers", str(gpus)] if (gpus := engines.count_gpus()) > 1 else []
    return flags + (["--max-hours", str(options.max_hours)] if options.max_hours else [])


def collect(working: Path, plan: Plan) -> None:
    """Put the first ensemble's submission and the report where Kaggle shows them."""
    folder = working / "output" / plan.name
    shutil.copyfile(folder / "submissions" / f"{plan.ensembles[0].name}.csv", working / "submission.csv")
    shutil.copyfile(folder / "report.html", working / "report.html")


def main(argv: list[str] | None = None) -> None:
    """Find, run, collect. Running out of time is not an error: exit code 0 and a message."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", nargs="?", default="kaggle", metavar="PLAN")
    parser.add_argument("--max-hours", type=flag_types.amount)
    parser.add_argument("--resume-from", type=Path, metavar="DIR", help="default: the latest output that is attached")
    parser.add_argument("--root", type=Path, default=Path("/kaggle"))
    options = parser.parse_args(argv)
    if not (options.root / "input").is_dir():
        raise UserError(f"there is no folder {options.root / 'input'}: this command is for notebooks on Kaggle")
    plan, attached = load_plan(options.plan), list(folders(options.root / "input"))
    install_unmet(attached)
    command = [sys.executable, "-m", "pipeline", *flags(options, plan, attached)]
    log.info("%-10s %s", "kaggle", " ".join(command[1:]))
    code = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}).returncode
    if code == TIME_IS_UP:
        log.info("%-10s save this version, attach its output to the next one, and run that", "kaggle")
        return
    if code:
        sys.exit(code)
    collect(options.root / "working", plan)
