"""A model card of a finished ensemble: data, schema, scores with intervals, caveats, how it was made.

reads   OUTPUT/PLAN: records, labels, out-of-fold predictions
writes  FILE, Markdown below a YAML front matter in the layout of model hubs (README.md there), or prints it

The ensemble is the plan's best by its recorded score, unless --ensemble names one. `export` writes the card beside the
model.

    ./run.sh card --plan PLAN [--ensemble NAME] [--to FILE] [--force]
"""

import logging
from pathlib import Path

from pipeline import cli
from pipeline.core import metrics
from pipeline.errors import UserError, meant
from pipeline.plans.config import Plan
from pipeline.report.card import MARK, card
from pipeline.store.artifacts import Store
from pipeline.store.records import atomic

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--ensemble", metavar="NAME", help="an ensemble of the plan; the best by default")
    parser.add_argument("--to", type=Path, metavar="FILE", help="the file to write; without it the card is printed")
    request = cli.parse(parser, argv)
    path = request.options.to
    if path is not None:
        _require_ours(path, force=request.options.force)
    text = card(request.store, _chosen(request.plan, request.store, request.options.ensemble))
    if path is None:
        print(text, end="")
        return
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    log.info("card       %s", path)


def _chosen(plan: Plan, store: Store, name: str | None) -> str:
    """The ensemble of that name, or the best; UserError where there is none. `--run` makes those of one run."""
    alone = [run.name for run in plan.runs if store.ensemble(run.name).exists()]
    names = list(dict.fromkeys([*(ensemble.name for ensemble in plan.ensembles), *alone]))
    if name is not None and name not in names:
        raise UserError(f"--ensemble {name}: plan {plan.name} has {', '.join(names)}{meant(name, names)}")
    if name is not None:
        return name
    decides = metrics.deciding(store.schema()).name
    scores = {one: store.ensemble(one).fact(decides, float) for one in names if store.ensemble(one).exists()}
    if not scores:
        raise UserError(f"plan {plan.name} has no finished ensemble: {store.command('run')} makes what is missing")
    return min(scores, key=scores.get)


def _require_ours(path: Path, *, force: bool) -> None:
    """UserError where a file is there that is no card of ours, unless `force`d, or a folder."""
    if path.is_dir():
        raise UserError(f"--to {path}: is a folder: give a file in it, such as {path / 'README.md'}")
    if path.exists() and not path.is_file():
        raise UserError(f"--to {path}: is no file; without --to the card is printed")
    if path.exists() and not force and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--to {path}: is there and is no card of ours: choose another name, or replace it by --force")
