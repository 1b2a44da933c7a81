"""Open the notebooks in JupyterLab, which this command installs into .venv.

reads   notebooks/, and below output/ what they show
writes  below output/ what they find missing there: they run stages; saving a notebook changes its file

    ./run.sh notebook [JUPYTERLAB'S FLAGS, such as --no-browser, --port 8899, 2-train-and-compare.ipynb]
"""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from pipeline import cli
from pipeline.errors import UserError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
HELP = ("-h", "--help")


def main(argv: list[str] | None = None) -> None:
    """JupyterLab takes the place of this process; its exit code is the command's."""
    argv = sys.argv[1:] if argv is None else argv
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args([word for word in argv if word in HELP])  # the others are JupyterLab's
    if find_spec("jupyterlab") is None:
        raise UserError("notebook needs JupyterLab: .venv/bin/python -m pip install -r requirements-notebook.txt")
    if os.geteuid() == 0 and "--allow-root" not in argv:  # as in a container
        raise UserError("JupyterLab does not run as root unless it is told to: add --allow-root")
    os.chdir(NOTEBOOKS)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *argv])
