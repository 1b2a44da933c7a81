"""Stage 0 of 9: find the competition's files (or render synthetic galaxies) and check them before any work.

reads   the folder --input DIR (remembered), else the synthetic galaxies of the plan's [sky], else input/
writes  inputs/labels.parquet, inputs/sample.csv, inputs/images.json, inputs/weights.json, sky/ (synthetic galaxies)

    ./run.sh inputs --plan demo [--input DIR] [--weights BACKBONE=FILE ...] [--resume-from DIR]
"""

import argparse
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.competition import duplicates, source_files, tables
from pipeline.competition.source_files import Files, Images
from pipeline.competition.tables import ID
from pipeline.core import tree
from pipeline.errors import Damaged, UserError
from pipeline.models import pretrained
from pipeline.plans.config import Plan
from pipeline.store import dependencies, resume
from pipeline.store.artifacts import Store, save_fractions
from pipeline.store.records import atomic, save_json

log = logging.getLogger(__name__)
IN_RANGE = 1e-6  # how far a vote fraction may lie outside [0, 1]
SUMS = 1e-3  # how far the answers of a question may be from summing to their parent


def examples(items: Iterable[Any]) -> str:
    """'3 (such as 1, 2, 3)': the count and up to three of them."""
    items = list(items)
    return f"{len(items):,} (such as {', '.join(str(item) for item in items[:3])})"


def label_problems(labels: pd.DataFrame) -> list[str]:
    """What is wrong with the labels as read from their file, as sentences."""
    problems = id_problems("labels", labels.index)
    if header := header_problems("labels", list(labels.columns)):
        return problems + header
    values = labels.to_numpy()
    finite = np.isfinite(values).all(axis=1)
    inside = (values >= -IN_RANGE).all(axis=1) & (values <= 1 + IN_RANGE).all(axis=1)
    off = np.nan_to_num(tree.violations(values)).max(axis=1)
    checks = {
        "galaxies with values that are not finite": ~finite,
        "galaxies with values outside [0, 1]": finite & ~inside,
        f"galaxies whose answers do not sum to their parent within {SUMS}": finite & inside & (off > SUMS),
    }
    return problems + [
        f"labels: {what}: {examples(labels.index[wrong])}" for what, wrong in checks.items() if wrong.any()
    ]


def header_problems(what: str, columns: list[str]) -> list[str]:
    """Columns that are missing or unknown, as at most one sentence."""
    missing = [column for column in tree.COLUMNS if column not in columns]
    unknown = [column for column in columns if column not in tree.COLUMNS]
    parts = [f"{name} {examples(found)}" for name, found in (("missing", missing), ("unknown", unknown)) if found]
    return [f"{what}: expected the 37 columns Class1.1 … Class11.6; {', '.join(parts)}"] if parts else []


def id_problems(what: str, ids: pd.Index | np.ndarray) -> list[str]:
    """Ids that are not integers or occur twice; or none at all."""
    ids = pd.Index(ids)
    if not len(ids):
        return [f"{what}: no galaxies in it"]
    strange = [i for i in map(str, ids) if source_files.parse_galaxy_id(i) is None]
    texts = [i or "an empty cell" for i in strange if not (i.isascii() and i.isdecimal())]
    others = [i for i in strange if i.isascii() and i.isdecimal()]
    twice = ids[ids.duplicated()].unique()
    checks = {
        f"{ID}s that are not integers": texts,
        f"{ID}s with leading zeros, or of more than 18 digits": others,
        f"{ID}s that occur more than once": twice,
    }
    return [f"{what}: {name}: {examples(found)}" for name, found in checks.items() if len(found)]


def matching_problems(what: str, images: np.ndarray, table: str, listed: pd.Index | np.ndarray) -> list[str]:
    """Images that the table does not list, and galaxies of the table without image."""
    listed = np.array([i for i in map(source_files.parse_galaxy_id, map(str, listed)) if i is not None], np.int64)
    checks = {
        f"{what} that are not in the {table}": np.setdiff1d(images, listed),
        f"galaxies of the {table} without one of the {what}": np.setdiff1d(listed, images),
    }
    return [f"{name}: {examples(found)}" for name, found in checks.items() if len(found)]


def read_checked(files: Files) -> tuple[pd.DataFrame, tuple[list[str], np.ndarray]]:
    """(labels ascending by id, (header, ids) of the sample); UserError lists every problem at once."""
    problems: list[str] = []

    def attempt(read: Callable[[Path], Any], path: Path) -> Any:
        try:
            return read(path)
        except UserError as error:
            problems.append(str(error))
            return None

    labels = attempt(tables.read_labels, files.labels)
    sample = attempt(tables.read_sample, files.sample)
    train, test = attempt(_ids, files.train), attempt(_ids, files.test)
    if labels is not None:
        problems += label_problems(labels)
    if sample is not None:
        problems += id_problems("sample", sample[1]) + header_problems("sample", sample[0][1:])
    for images, table, listed, what in (
        (train, "labels", None if labels is None else labels.index, "training images"),
        (test, "sample", None if sample is None else sample[1], "test images"),
    ):
        if images is not None:
            problems += images[1] + (matching_problems(what, images[0], table, listed) if listed is not None else [])
    if problems:
        raise UserError(_problems_message(files, problems))
    return labels.sort_index().clip(0, 1), sample


def _ids(path: Path) -> tuple[np.ndarray, list[str]]:
    with Images(path) as images:
        return images.ids, images.problems


def _problems_message(files: Files, problems: list[str]) -> str:
    lines = "\n".join(f"  - {problem}" for problem in problems)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return (
        f"the competition's files in {files.labels.parent} have {count}; nothing was written:\n{lines}\n"
        f"download the damaged files again from {source_files.DATA_PAGE}, or repair them, and run the same command"
    )


def fingerprints(files: Files) -> dict[str, Any]:
    """Fingerprints of the content of the four files, independent of their location."""

    def of_table(path: Path) -> dict[str, Any]:
        data = tables.read_bytes(path)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def of_images(path: Path) -> dict[str, Any]:
        with Images(path) as images:
            return images.fingerprint()

    readers = {"labels": of_table, "train": of_images, "test": of_images, "sample": of_table}
    try:
        return {field.name: readers[field.name](getattr(files, field.name)) for field in fields(files)}
    except UserError:
        read_checked(files)  # reports this problem together with all others
        raise


def choose_folder(given: Path | None, store: Store, has_sky: bool, *, force: bool = False) -> Path:
    """Folder of the source files: the given one, the recorded one, that of synthetic galaxies, or input/, in order."""
    sky, inputs = store.sky().record_path.parent, store.inputs()
    if given is not None:
        return given.expanduser().resolve()
    try:
        if inputs.record():
            return store.root / inputs.fact("folder", str)
    except Damaged as error:
        if not (
            has_sky and store.sky().exists()
        ):  # other files than before would invalidate all that was built from them
            again = store.command("inputs", "--input", "DIR", "--force")
            raise Damaged(f"{error}. Say where the competition's files are: {again}") from None
        if not force:
            raise
    return sky if has_sky else source_files.INPUT


def render_sky(request: cli.Request) -> None:
    """Render the plan's synthetic galaxies, where they are missing."""
    for unit in request.to_do(dependencies.sky(request.plan, request.store)):
        from pipeline.sky import survey  # needs OpenCV, which a plan with real files does not need here

        began, count = time.perf_counter(), unit.spec["train"] + unit.spec["test"]
        request.store.require_space(count * survey.BYTES_PER_GALAXY, "the synthetic galaxies")
        unit.artifact.begin()
        log.info("%-10s rendering %s training and %s test galaxies", "inputs", unit.spec["train"], unit.spec["test"])
        folder = unit.artifact.record_path.parent
        survey.draw(folder, n_train=unit.spec["train"], n_test=unit.spec["test"], seed=unit.spec["seed"])
        unit.finish(seconds=round(time.perf_counter() - began, 1))


def make(request: cli.Request, folder: Path, synthetic: bool) -> dict[str, Any]:
    """Check the files of `folder` and write what the other stages read, where missing; returns the record."""
    store, files = request.store, source_files.find(folder)
    # relative where it is the plan's own, so that an output folder may be moved
    place = str(folder.relative_to(store.root)) if folder.is_relative_to(store.root) else str(folder)
    found = {"folder": place, "signature": files.signature()}
    record = store.inputs().facts()
    if record and found["signature"] and all(record.get(key) == value for key, value in found.items()):
        prints = record["spec"]
    else:
        prints = fingerprints(files)
    for unit in request.to_do(dependencies.inputs(request.plan, store, prints, synthetic)):
        labels, (header, ids) = read_checked(files)
        unit.artifact.begin()
        write(store, labels, header, ids, prints)
        record = unit.finish(**found, n_train=len(labels), n_test=len(ids), copies=duplicates.find(files))
        for caveat in duplicates.caveats(record):
            log.warning("%-10s %s", "inputs", caveat)
    if any(record.get(key) != value for key, value in found.items()):  # the same files, elsewhere
        record |= found
        store.inputs().write(record)
    return record


def write(store: Store, labels: pd.DataFrame, header: list[str], ids: np.ndarray, prints: dict[str, Any]) -> None:
    """labels.parquet, sample.csv (a submission of zeros) and images.json (so that other images are another digest)."""
    labels_path, sample_path, images_path = store.inputs().files
    save_fractions(labels_path, labels)
    zeros = pd.DataFrame(0, index=pd.Index(ids, name=header[0]), columns=header[1:])
    with atomic(sample_path) as temporary:
        zeros.to_csv(temporary, lineterminator="\n")
    save_json(images_path, {split: prints[split] for split in dependencies.SPLITS})


def known_weights(store: Store, given: dict[str, Any], *, force: bool) -> dict[str, Any]:
    """The weights files of earlier calls; none where their list is damaged and the files are `given` by `force`."""
    try:
        return store.load_weights_list()
    except Damaged:
        if not (given and force):
            raise
        return {}


def arguments() -> argparse.ArgumentParser:
    """The flags of this stage."""
    parser = cli.parser(__doc__)
    parser.add_argument("--input", type=Path, metavar="DIR", help="folder of the competition's files; remembered")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="BACKBONE=FILE",
        help="pretrained weights to start a backbone from instead of Keras's download; repeatable, remembered",
    )
    what = "only the first weights of this run, or of the runs of this ensemble, are needed"
    parser.add_argument("--run", dest="needed_by", metavar="NAME", help=what)
    parser.add_argument("--resume-from", type=Path, metavar="DIR", help="start from the output of an earlier session")
    return parser


def _asked_for(plan: Plan, name: str | None) -> Plan:
    """The plan with the runs alone that --run NAME asks for."""
    if name is None:
        return plan
    wanted = plan.runs_for(name)
    return plan.part(runs=wanted, ensembles=[], baselines=[], missing=[])


def main(argv: list[str] | None = None) -> None:
    """Render synthetic galaxies where needed, check the files, write and remember them."""
    request = cli.parse(arguments(), argv)
    plan, store = request.plan, request.store
    weights = pretrained.parse_weights(request.options.weights, plan)
    if request.options.resume_from:
        resume.resume(request.options.resume_from, plan.name, store)
    folder = choose_folder(request.options.input, store, plan.sky is not None, force=request.options.force)
    synthetic = plan.sky is not None and folder == store.sky().record_path.parent
    if not synthetic:
        source_files.find(folder)  # check the files first: without them weights are useless
    weights = known_weights(store, weights, force=request.options.force) | weights
    pretrained.require_available(_asked_for(plan, request.options.needed_by), store, weights)
    if synthetic:
        render_sky(request)
    record = make(request, folder, synthetic)
    if request.options.weights:
        store.save_weights_list(weights)
        log.info("%-10s weights given for %s", "inputs", ", ".join(weights))
    log.info(
        "%-10s %s training galaxies, %s test galaxies from %s",
        "inputs",
        *(f"{record[key]:,}" for key in ("n_train", "n_test")),
        folder,
    )
