"""How many labels does it take? Score against number of labels, from scratch, from ImageNet and from galaxies.

reads   the folder --input DIR (remembered for this plan), what the plan's run starts from; makes inputs, folds
        and crops first
writes  label-efficiency/<run>/{heads,fine-tuned}/results.csv, curves.csv, curves.svg; each result in a file of its own

Labels are drawn from the galaxies outside one fold, as nested, stratified subsets that all starts share, and every
network is scored on the galaxies of that fold; nothing is chosen by these. "Galaxies" is what the run's start_from
names. Random forest and SVM learn from hand-made features. A head on frozen features takes seconds; --fine-tune trains
whole networks. Killed, the same command resumes. The report has a section of it.

    ./run.sh label-efficiency --plan PLAN [--sizes 50,100,200,500,1000,2000] [--repeats 5] [--run NAME] [--fold K]
        [--fine-tune] [--input DIR] [--weights BACKBONE=FILE ...]
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.commands.label_efficiency import setting as settings
from pipeline.commands.label_efficiency.measure import Measurement
from pipeline.commands.label_efficiency.setting import IMAGENET, Setting
from pipeline.core.durations import duration
from pipeline.execution import locks
from pipeline.labelled import known_galaxies
from pipeline.report.sections import label_efficiency as section
from pipeline.stages import crops, folds, inputs
from pipeline.store.records import atomic
from pipeline.store.unit import Unit

log = logging.getLogger(__name__)
SIZES, REPEATS = "50,100,200,500,1000,2000", 5


def _sizes(text: str) -> tuple[int, ...]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers of labels, such as {SIZES}")
    return tuple(found)


def _repeats(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of draws from 1 to 1000")
    return int(text)


def arguments() -> argparse.ArgumentParser:
    """The flags of the measurement."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sizes", type=_sizes, default=_sizes(SIZES), help=f"numbers of labels; {SIZES}")
    parser.add_argument("--repeats", type=_repeats, default=REPEATS, help="draws of the labelled galaxies; 5")
    parser.add_argument("--fine-tune", action="store_true", help="train whole networks, not heads on frozen features")
    parser.add_argument("--input", metavar="DIR", help="folder of labels and images; remembered for this plan")
    parser.add_argument(
        "--weights", action="append", default=[], metavar="BACKBONE=FILE", help="first weights; repeatable, remembered"
    )
    return parser


def make_first(options: argparse.Namespace) -> None:
    """The stages that the measurement reads, where they are not complete."""
    flags = ["--plan", options.plan, "--output", str(options.output), "--yes"]
    flags += [f"--until={options.until}"] if options.until is not None else []
    more = ["--input", options.input] if options.input else []
    more += [word for item in options.weights for word in ("--weights", item)]
    inputs.main([*flags, *more])
    for stage in (folds, crops):
        stage.main(flags)


def unit_of(setting: Setting, measurement: Measurement) -> Unit:
    """The summary of a measurement, by what it was asked for and what the features of its starts are made from."""
    spec: dict[str, Any] = {"sizes": list(setting.sizes), "repeats": setting.repeats, "fold": setting.fold}
    spec |= {"seed": setting.plan.seed, "tuned": setting.tuned, "starts": measurement.names}
    spec["runs"] = {start: run.model_dump(mode="json") for start, run in measurement.runs.items()}
    sources = {"inputs": setting.store.inputs(), "folds": setting.store.folds()}
    for start in measurement.names:
        sources |= measurement.unit_of_features(start).sources
    artifact = setting.store.efficiency(setting.run.name, tuned=setting.tuned)
    return Unit("label-efficiency", f"label-efficiency/{setting.run.name}", artifact, spec, sources, setting.run.name)


def agree_to_replace(unit: Unit, measurement: Measurement, *, yes: bool) -> None:
    """Say what results are replaced, of other galaxies, of another run or by --force; UserError without agreement."""
    record = unit.artifact.facts()
    sizes = {key: record.get("spec", {}).get(key) for key in ("sizes", "repeats")}  # others are kept beside
    state, why = replace(unit, spec=unit.spec | sizes).state()
    other = why if state in ("changed", "outdated") else []
    seconds = max(measurement.overwritten(), record["seconds"] if other else 0.0)
    what = f"{duration(seconds)} of work on {'; '.join([unit.label, *other[:3]])}" if seconds else ""
    cli.agree_to_lose("labels", seconds, what, yes=yes)


def finish(unit: Unit, setting: Setting, measurement: Measurement, known: known_galaxies.Known | None) -> None:
    """Measure, and write what was found."""
    table = measurement.table()
    facts = {"measure": setting.measure._asdict(), "tuned": setting.tuned, "run": setting.run.name}
    facts |= {"pool": len(setting.pool), "held_out": len(setting.held_out), "start": known.facts() if known else None}
    facts["start_label"] = setting.start.label if setting.start else None
    given = setting.store.load_weights_list().get(setting.run.backbone)
    facts["imagenet_file"] = Path(given["path"]).name if given and IMAGENET in measurement.runs else None
    found = section.Found.of(facts, table)
    unit.artifact.begin()
    texts = (table.to_csv(index=False), found.curves().to_csv(index=False), found.figure().file())
    for path, text in zip(unit.artifact.files, texts, strict=True):
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    unit.finish(**facts, seconds=float(table["seconds"].sum()), finding=found.sentence())


def main(argv: list[str] | None = None) -> None:
    """Command line of the measurement."""
    make_first(cli.parse(arguments(), argv, select=("run", "fold")).options)
    request = cli.parse(arguments(), argv, select=("run", "fold"))  # again, for the labels that stage 0 recorded
    options, plan, store = request.options, request.plan, request.store
    setting = settings.of_request(request, options.sizes, options.repeats, tuned=options.fine_tune)
    known = known_galaxies.of_plan(plan, store) if setting.start else None
    if known:
        known_galaxies.require_unseen(known, store.load_folds(), store)
    measurement = Measurement(setting, fresh=options.force)
    unit = unit_of(setting, measurement)
    if options.force or unit.state()[0] != "complete" or unit.artifact.checksum_mismatches():
        request.require([unit])
        agree_to_replace(unit, measurement, yes=options.yes)
        unit.artifact.record_path.parent.mkdir(parents=True, exist_ok=True)
        with locks.holding(unit.artifact.lock):
            finish(unit, setting, measurement, known)
    record = unit.artifact.required()
    if setting.start:
        seen = f"a run trained on the votes for {record['start']['trained_on']:,} galaxies but those of its own fold"
        log.info("%-10s from galaxies: the backbone of %s, %s", "labels", setting.start.label, seen)
    for caveat in (record["start"] or {}).get("untold", []):
        log.warning("%-10s CAVEAT: %s", "labels", caveat)
    print(record["finding"])
    for what, path in zip(("results", "curves", "figure"), unit.artifact.files, strict=True):
        print(f"{what:<10} {path}")
