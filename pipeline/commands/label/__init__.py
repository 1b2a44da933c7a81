"""A page in the browser where people label galaxies, those first whose labels would teach most.

reads   the folder --input DIR (remembered for this plan): images without a label in its table, which may be absent;
        the plan's last trained run, else its pretrained backbone
writes  OUTPUT/PLAN/answers/PERSON.jsonl, a line an answer; the next ./run.sh of the plan trains on them

One keystroke an answer, along the questions of the plan's labels = "…"; u undoes, s skips. What the model thinks of a
galaxy is shown after the answer. Galaxies are chosen by BADGE (Ash et al. 2020, ICLR): the network is unsure of them,
and they are unlike what is labelled; without a network they come in random order. A fifth of all galaxies is kept
from the rule and comes by chance, every fifth in turn; their lines say "chosen": "random", and a score on them alone
holds for all galaxies. Several people may label at once, here or by commands of their own; what they answer of
one galaxy are votes. The page listens on this machine only by default.

    ./run.sh label --plan PLAN [--input DIR] [--people 1] [--random] [--host 127.0.0.1] [--port 8000]
"""

import argparse
import getpass
import hashlib
import json
import logging
import re
from pathlib import Path

import numpy as np

from pipeline import cli
from pipeline.commands.label.advice import Advice, advise
from pipeline.commands.label.application import application
from pipeline.commands.label.session import Session
from pipeline.errors import UserError
from pipeline.labelled import unlabelled
from pipeline.labelled.images import LabelledImages
from pipeline.models import pretrained
from pipeline.plans.config import Plan
from pipeline.plans.crops import IMAGE_SIDE, Crop
from pipeline.report.pictures import data_uri
from pipeline.stages import inputs
from pipeline.store import answers
from pipeline.web import server

log = logging.getLogger(__name__)
SIDE = 384  # pixels of the picture that people see


def arguments() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = cli.parser(__doc__, makes=False)
    parser.add_argument("--input", type=Path, metavar="DIR", help="folder of the images, and of the table of labels")
    parser.add_argument("--people", type=int, default=1, metavar="N", help="answers by different people of each galaxy")
    parser.add_argument("--random", action="store_true", help="random order, without asking a network")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="BACKBONE=FILE",
        help="pretrained weights; remembered for this plan",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets everybody in")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    return parser


def picture_of(images: LabelledImages, plan: Plan):
    """galaxy -> data: address of what the widest crop of the plan shows; DamagedImage where there is none."""
    widest = max(plan.crops.values(), key=lambda crop: crop.pixels(IMAGE_SIDE))
    crop: Crop = widest.model_copy(update={"size": SIDE})

    def picture(galaxy: str) -> str:
        made = np.zeros((SIDE, SIDE, 3), np.uint8)
        images.cut(images.read(galaxy), [crop], [made])
        return data_uri(made)

    return picture


def user() -> str:
    """The name that is offered to whoever opens the page: that of this account, as far as it is one here."""
    try:
        return re.sub(r"[^a-z0-9_-]", "", getpass.getuser().lower()).lstrip("-_")[:40]
    except (OSError, KeyError):
        return ""


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    request = cli.parse(arguments(), argv)
    plan, store, options = request.plan, request.store, request.options
    if options.people < 1:
        raise UserError(f"--people {options.people}: expected 1 or more")
    server.require_packages("label")
    with server.listening(options.host, options.port, "label") as on:
        found = galaxies(request)
        if options.weights:
            given = pretrained.parse_weights(options.weights, plan)
            store.save_weights_list(store.load_weights_list() | given)
        if options.input:
            answers.remember_images(store.answers(), options.input.expanduser().resolve())
        there = answers.read(store.answers())
        for sentence in there.sentences():
            log.warning("%-10s %s", "label", sentence)
        advice = Advice() if options.random else advise(plan, store, found.schema, found.images, there)
        digest = hashlib.sha256(json.dumps(found.recorded, sort_keys=True).encode()).hexdigest()
        session = Session(
            store.answers(), found.schema, digest, list(found.images.names), advice, picture_of(found.images, plan),
            options.people,
        )  # fmt: skip
        done = {line.galaxy for line in there.complete()} & set(found.images.names)
        log.info("%-10s %s of %s galaxies are labelled by now, and %s in the table; answers go to %s", "label",
                 f"{len(done):,}", f"{len(found.images):,}", f"{found.labelled:,}", store.answers())  # fmt: skip
        about = {"plan": plan.name, "notes": [_order(advice)]}
        server.run(application(session, user(), about), on, options.host, "label")


def galaxies(request: cli.Request) -> unlabelled.Unlabelled:
    """Those that are to be labelled; UserError where the plan's galaxies all have labels."""
    plan, store = request.plan, request.store
    folder = inputs.choose_folder(request.options.input, store, plan.sky is not None)
    synthetic = plan.sky is not None and folder == store.sky().record_path.parent
    if synthetic or (plan.labels in (None, inputs.DEFAULT) and not inputs.folders.has_labels(folder)):
        raise UserError(
            f"the labels of {plan.name} are the competition's, whose galaxies all have votes: to label others, put "
            f'their images into DIR/images, and what is asked into a plan, labels = "FILE.toml" or a shipped schema '
            f'such as "galaxy-zoo-2-votes"; ./run.sh label --plan PLAN.toml --input DIR'
        )
    return unlabelled.find(folder, plan.labels)


def _order(advice: Advice) -> str:
    if not advice.chosen:
        return "Galaxies come in random order: there is no network yet to choose them."
    return f"Galaxies are chosen by {advice.model['rule']} with {advice.model['name']}, every fifth at random."
