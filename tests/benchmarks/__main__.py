"""Benchmarks of every stage, each beside a reference measured in the same run.

    ./run.sh bench [--quick] [--gpu] [--only WORD] [--input DIR] [--json FILE]

Prints one table and writes it as JSON. A ratio is the median of alternated pairs, its range in brackets. What
cannot be measured here is named and the rest goes on.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # the table is the progress; read when tqdm is imported

from tests.benchmarks import files
from tests.benchmarks.measure import Row


def groups(folder: Path, given: Path | None, quick: bool, gpu: bool) -> dict[str, Iterator[Row]]:
    """Name -> the rows it measures, one by one; networks are loaded when they are first asked for."""
    import pipeline.nn  # noqa: F401 (sets the machine up before keras is imported)
    from tests.benchmarks import catalogue, estimates, networks, runtimes
    from tests.benchmarks import gpu as large

    if gpu:
        return {"gpu": large.rows(quick)}
    return {
        "crops": files.crop_rows(folder, given, quick),
        "memory": iter(()) if quick else files.memory_row(folder),
        "feed": networks.feed_rows(quick),
        "input": networks.notebook_rows(folder, quick),
        "head": networks.head_rows(quick),
        "fold": networks.fold_rows(quick),
        "views": networks.view_rows(quick),
        "precision": networks.precision_rows(quick),
        "runtimes": runtimes.rows(quick),
        "estimate": estimates.rows(quick),
        "classify": catalogue.rows(folder, quick),
        "ensemble": files.big_rows(folder, quick),
        "report": files.report_rows(folder, quick),
        "start": files.start_rows(folder, quick),
    }


def line(row: Row) -> str:
    """One row of the table."""
    peak = f"{row.peak_mb:,.0f} MB" if row.peak_mb else ""
    figures = f"{row.ours:>9,.4g} {row.reference:>9,.4g} {row.unit:<9}"
    ratio = f"{row.ratio:>7.3g} ({row.low:.3g} to {row.high:.3g})"
    return f"{row.stage:<42}{figures}{ratio:<26}{row.goal:<9}{'met' if row.met else 'MISSED':<7}{peak:>9}  {row.note}"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        "./run.sh bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller and noisier, three minutes on two cores")
    parser.add_argument("--gpu", action="store_true", help="the competition's networks at 224 pixels, on a GPU")
    parser.add_argument("--only", help="only the groups whose name holds this word")
    parser.add_argument("--input", type=Path, help="the competition's files, for the crops; else drawn ones")
    parser.add_argument("--json", type=Path, default=Path("output/benchmarks.json"), help="where the figures go")
    options = parser.parse_args()
    rows: list[Row] = []
    title = f"{'stage':<42}{'ours':>9} {'reference':>9} {'':<9}{'ratio':>7} {'(range)':<18}{'goal':<16}{'peak':>9}"
    failed, took = False, {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = groups(Path(folder), options.input, options.quick, options.gpu)
        if options.only and not any(options.only in name for name in chosen):
            parser.error(f"--only {options.only}: no group's name holds it; there are {', '.join(chosen)}")
        print(title)
        for name, measured in chosen.items():
            if options.only and options.only not in name:
                continue
            began = time.monotonic()
            try:
                for row in measured:
                    rows.append(row)
                    print(line(row), flush=True)
            except Exception as error:  # what one group lacks must not cost the others
                failed = True
                print(f"{name:<42}could not be measured: {error}", flush=True)
            took[name] = round(time.monotonic() - began, 1)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("keras", "numpy", "scikit-learn")}
    facts = {"machine": platform.machine(), "python": platform.python_version(), "versions": versions, "seconds": took}
    options.json.write_text(json.dumps(facts | {"rows": [row.record() for row in rows]}, indent=1) + "\n")
    print(f"written to {options.json}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
