"""Fetch the competition's files from Kaggle, checked and resumable.

reads   Kaggle, by the credentials of its client (KAGGLE_API_TOKEN, ~/.kaggle/access_token or kaggle.json)
writes  DIR/{training_solutions_rev1,images_training_rev1,images_test_rev1,all_zeros_benchmark}.zip

    ./run.sh download [--to DIR]
"""

import argparse
from pathlib import Path

from pipeline import cli
from pipeline.competition.download import fetch_missing
from pipeline.competition.source_files import INPUT
from pipeline.store import folders


def main(argv: list[str] | None = None) -> None:
    """Fetch what is missing."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=INPUT, metavar="DIR", help="instead of input/")
    fetch_missing(folders.folder_to_write("--to", parser.parse_args(argv).to))
