"""Stage 0 of 9: find the competition's files, or your own labels and images, and check them before any work.

reads   the folder --input DIR (remembered for this plan), else the synthetic galaxies of the plan's [sky], else input/;
        answers/*.jsonl, what people answered on the page of `label`
writes  inputs/labels.parquet, inputs/sample.csv, inputs/images.json, inputs/weights.json, sky/ (synthetic galaxies);
        of your own labels inputs/labels.toml, the schema that they were read by

Your own: a table labels.csv (.parquet, .fits, …) of ids and labels, and images/ (or .zip, .tar) of JPEG, PNG or FITS
images, named by id or by a column; test/ with images to predict, and a sample file, where there are any. What the
columns mean is said by the plan's labels = "…"; a column `label` or `class` alone needs nothing said.

    ./run.sh inputs --plan demo [--input DIR] [--weights BACKBONE=FILE ...] [--resume-from DIR]
"""

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import cli
from pipeline.competition import duplicates, source_files
from pipeline.competition.checks import copies_in, fingerprints, read_checked
from pipeline.errors import Damaged, UserError
from pipeline.labelled import folder as folders
from pipeline.labelled import part
from pipeline.labelled.inputs import Prepared, prepare
from pipeline.labelled.source import TRAINED_ON
from pipeline.models import pretrained
from pipeline.plans import label_schemas
from pipeline.plans.config import Plan
from pipeline.plans.label_schemas import DEFAULT, galaxy_zoo_2
from pipeline.plans.layers import own_path
from pipeline.store import answers, dependencies, resume, starting_run
from pipeline.store.artifacts import Store
from pipeline.store.fractions import save_fractions
from pipeline.store.label_table import save_labels
from pipeline.store.records import atomic, save_json

log = logging.getLogger(__name__)


def choose_folder(given: Path | None, store: Store, has_sky: bool, *, force: bool = False) -> Path:
    """Folder of the source files: the given one, the recorded one, that which people label, that of synthetic galaxies,
    or input/, in order.
    """
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
    return answers.images_of(store.answers()) or (sky if has_sky else source_files.INPUT)


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
        unit.finish(seconds=time.perf_counter() - began)


def make(request: cli.Request, folder: Path, synthetic: bool) -> dict[str, Any]:
    """Check the files of `folder` and write what the other stages read, where missing; returns the record."""
    store, files = request.store, source_files.find(folder)
    found = {"folder": place_of(folder, store), "signature": files.signature()}
    record = store.inputs().facts()
    if record and found["signature"] and all(record.get(key) == value for key, value in found.items()):
        prints = record["spec"]
    else:
        prints = fingerprints(files)
    for unit in request.to_do(dependencies.inputs(request.plan, store, prints, synthetic)):
        labels, (header, ids) = read_checked(files, galaxy_zoo_2())
        chosen = part.choose(request.plan, galaxy_zoo_2(), labels.to_numpy(), len(ids))
        labels, ids = labels.iloc[chosen.train], ids[chosen.test]
        unit.artifact.begin()
        write(store, labels, header, ids, prints)
        copies = part.copies_among(copies_in(files), labels.index, ids)
        record = unit.finish(**found, n_train=len(labels), n_test=len(ids), of=chosen.of, copies=copies)
        for caveat in duplicates.caveats(record):
            log.warning("%-10s %s", "inputs", caveat)
    return store.inputs().required() | found  # made here, or meanwhile by another process


def place_of(folder: Path, store: Store) -> str:
    """The folder as records hold it: relative where it is the plan's own, so that an output folder may be moved."""
    return str(folder.relative_to(store.root)) if folder.is_relative_to(store.root) else str(folder)


def remember(record: dict[str, Any], store: Store) -> None:
    """Write the record where it has changed: the same files, or the plan, lie elsewhere now."""
    if store.inputs().exists() and record != store.inputs().facts():
        store.inputs().write(record)


def is_own(plan: Plan, folder: Path) -> bool:
    """Whether the folder holds the user's own labels, and not the competition's files."""
    if plan.labels not in (None, DEFAULT):
        return True
    try:
        source_files.find(folder)
    except UserError:
        return folders.has_labels(folder)
    return False


def make_own(request: cli.Request, folder: Path) -> dict[str, Any]:
    """The same for the user's own labels and images."""
    store, plan = request.store, request.plan
    answered = answers.read(store.answers())
    made = _in_recorded_words(request, prepare(folder, plan.labels, plan.folds, answered))
    chosen = part.choose(plan, made.schema, made.frame.to_numpy(), len(made.test_ids))
    made = made.part(chosen.train, chosen.test)
    _require_same_schema(request, made)
    for unit in request.to_do(dependencies.inputs(plan, store, made.prints, synthetic=False, answered=answered)):
        unit.artifact.begin()
        labels_path, sample_path, images_path = unit.artifact.files
        save_labels(labels_path, made.frame, made.schema, made.votes, made.names)
        write_sample(sample_path, made.header, made.test_ids)
        digested = {key: made.prints[key] for key in (*dependencies.SPLITS, "schema")}  # another schema, other networks
        trained_on = {TRAINED_ON: made.train.fingerprint()} if made.by_people or plan.galaxies is not None else {}
        by_people = trained_on | {"by_people": len(made.by_people)} if made.by_people else trained_on
        save_json(images_path, digested | by_people)
        with atomic(labels_path.with_name("labels.toml")) as temporary:
            temporary.write_text(label_schemas.to_toml(made.given), encoding="utf-8")
        kinds = {"train": made.frame.index, "test": made.test_ids}
        facts = {"n_train": len(made.frame), "n_test": len(made.test_ids), "of": chosen.of, "named": made.named}
        facts["ids"] = {split: "int64" if ids.dtype.kind in "iu" else "text" for split, ids in kinds.items()}
        facts |= by_people | {"folder": place_of(folder, store), "schema": made.recorded, "left_out": made.left_out}
        copies = part.copies_among(duplicates.find(made.train, made.test), made.frame.index, made.test_ids)
        record = unit.finish(**facts, sample="sample" in made.prints, copies=copies)
        for caveat in [*made.left_out, *duplicates.caveats(record)]:
            log.warning("%-10s %s", "inputs", caveat)
        log.info("%-10s labels %s: kind %s, answers %s", "inputs", made.schema.name, made.schema.kind,
                 ", ".join(made.schema.columns[:12]))  # fmt: skip
    return store.inputs().required()


def _in_recorded_words(request: cli.Request, made: Prepared) -> Prepared:
    """The same with the schema as it is recorded, where it differs only in words for people: nothing is stale then."""
    before = (request.store.inputs().facts().get("spec") or {}).get("schema")
    if before in (None, made.recorded) or request.options.force:
        return made
    if not label_schemas.same_but_for_words(before, made.recorded):
        return made
    log.info("%-10s the words of %s stay those of stage 0; --force takes the new ones", "inputs", made.schema.name)
    return made._replace(recorded=before, prints=made.prints | {"schema": before})


def _require_same_schema(request: cli.Request, made: Prepared) -> None:
    """UserError where all that was made is of another schema, which is not to be replaced."""
    before = (request.store.inputs().facts().get("spec") or {}).get("schema")
    if before is None or before == made.recorded or request.options.force:
        return
    again = request.store.command("inputs", "--force")
    raise UserError(
        f"the label schema {made.schema.name} has changed since stage 0: folds, networks, predictions and all else of "
        f"{request.plan.name} were made with the other and become stale. Restore it, choose another --output, or take "
        f"the new one by {again} and make all again"
    )


def write(store: Store, labels: pd.DataFrame, header: list[str], ids: np.ndarray, prints: dict[str, Any]) -> None:
    """labels.parquet, sample.csv (a submission of zeros) and images.json (so that other images are another digest)."""
    labels_path, sample_path, images_path = store.inputs().files
    save_fractions(labels_path, labels, galaxy_zoo_2())
    write_sample(sample_path, header, ids)
    save_json(images_path, {split: prints[split] for split in dependencies.SPLITS})


def write_sample(path: Path, header: list[str], ids: np.ndarray) -> None:
    """A submission of zeros."""
    zeros = pd.DataFrame(0, index=pd.Index(ids, name=header[0]), columns=header[1:])
    with atomic(path) as temporary:
        zeros.to_csv(temporary, lineterminator="\n")


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
    parser.add_argument("--input", type=Path, metavar="DIR", help="folder of the files; remembered for this plan")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="BACKBONE=FILE",
        help="pretrained weights to start a backbone from instead of Keras's download; repeatable, "
        "remembered for this plan",
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


def _other_problem(request: cli.Request, folder: Path, *, synthetic: bool, own: bool) -> str:
    """What is wrong with the files besides, to be told at once; "" where nothing is."""
    try:
        if own:
            prepare(folder, request.plan.labels, request.plan.folds, answers.read(request.store.answers()))
        elif not synthetic:
            read_checked(source_files.find(folder), galaxy_zoo_2())
    except UserError as error:
        return f"\nand: {error}"
    return ""


def main(argv: list[str] | None = None) -> None:
    """Render synthetic galaxies where needed, check the files, write and remember them."""
    request = cli.parse(arguments(), argv)
    plan, store = request.plan, request.store
    weights = pretrained.parse_weights(request.options.weights, plan)
    if request.options.resume_from:
        resume.resume(request.options.resume_from, plan.name, store)
    folder = choose_folder(request.options.input, store, plan.sky is not None, force=request.options.force)
    synthetic = plan.sky is not None and folder == store.sky().record_path.parent
    if plan.sky and not synthetic:
        log.info("inputs     reads %s: the synthetic galaxies of the plan are not drawn", folder)
    own = not synthetic and is_own(plan, folder)
    if not synthetic and not own:
        source_files.find(folder)  # check the files first: without them weights are useless
    weights = known_weights(store, weights, force=request.options.force) | weights
    starting_run.require_usable(_asked_for(plan, request.options.needed_by), store)
    try:
        pretrained.require_available(_asked_for(plan, request.options.needed_by), store, weights)
    except UserError as error:
        raise UserError(f"{error}{_other_problem(request, folder, synthetic=synthetic, own=own)}") from None
    if synthetic:
        render_sky(request)
    record = make_own(request, folder) if own else make(request, folder, synthetic)
    remember(record | {"folder": place_of(folder, store), "plan": own_path(request.options.plan)}, store)
    if request.options.weights:
        store.save_weights_list(weights)
        log.info("%-10s weights given for %s", "inputs", ", ".join(weights))
    train, test = (
        f"{record[f'n_{split}']:,}" + (f" of {record['of'][split]:,}" if plan.galaxies is not None else "")
        for split in dependencies.SPLITS
    )
    log.info("%-10s %s training galaxies, %s test galaxies from %s", "inputs", train, test, folder)
