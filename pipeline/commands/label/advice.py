"""What is known of galaxies without a label: a network's answers and features of them, and the rule's choice."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from pipeline.core import acquisition, machine
from pipeline.core.labels import Schema
from pipeline.errors import DamagedImage, UserError
from pipeline.labelled.images import LabelledImages
from pipeline.models import classifier
from pipeline.plans.config import Plan
from pipeline.plans.crops import Crop
from pipeline.plans.run import Run
from pipeline.store.answers import Answers
from pipeline.store.artifacts import Store

if TYPE_CHECKING:
    from pipeline.models.classifier import Member

log = logging.getLogger(__name__)
LOOKED_AT = 5_000  # galaxies, by chance, that the rule chooses among
LABELLED = 2_000  # galaxies of the table that they are compared with
CHOSEN = 500  # by one network; then it is time to train another


@dataclass(frozen=True)
class Advice:
    """The rule's choice, and what the model thinks; empty where there is no model."""

    chosen: list[str] = field(default_factory=list)
    joint: dict[str, np.ndarray] = field(default_factory=dict)  # galaxy -> vote fractions (c,)
    model: dict[str, str] | None = None  # name, digest and rule


class Looker(NamedTuple):
    """A network that describes galaxies: of a trained run, or the plan's pretrained backbone."""

    crop: Crop
    crop_name: str
    model: dict[str, str]
    describe: "object"  # images uint8 (n, s, s, 3) -> (vote fractions (n, c), features (n, d))
    answers: bool  # whether its vote fractions say anything


def advise(plan: Plan, store: Store, schema: Schema, images: LabelledImages, answers: Answers) -> Advice:
    """The rule's choice of the galaxies in `images`; none, with a sentence in the log, where there is no network."""
    try:
        looker = _trained(plan, store, schema) or _pretrained(plan, store, schema)
    except UserError as error:
        log.warning("%-10s in random order: %s", "label", error)
        return Advice()
    few = acquisition.by_chance([str(one) for one in images.ids])[:LOOKED_AT]
    galaxies, crops = cut(images, few, looker.crop)
    if not galaxies:
        return Advice()
    joint, features = looker.describe(crops)
    described = acquisition.described(schema, joint, features)
    done = {line.galaxy for line in answers.lines.values() if line.state != "begun"}
    is_done = np.array([galaxy in done for galaxy in galaxies])
    open_rows = np.array([not there and acquisition.chance(one) >= acquisition.BY_CHANCE
                          for one, there in zip(galaxies, is_done, strict=True)])  # fmt: skip
    labelled = _joined(described.of(is_done), _of_table(store, looker, schema))
    rows = np.flatnonzero(open_rows)
    picked = acquisition.badge(described.of(rows), labelled, CHOSEN, np.random.default_rng(plan.seed))
    log.info("%-10s %d galaxies chosen by %s, by %s, of %s that nobody has answered", "label", len(picked),
             acquisition.RULE, looker.model["name"], f"{int((~is_done).sum()):,}")  # fmt: skip
    thinks = dict(zip(galaxies, joint, strict=True)) if looker.answers else {}
    return Advice([galaxies[row] for row in rows[picked]], thinks, looker.model | {"rule": acquisition.RULE})


def cut(images: LabelledImages, galaxies: list[str], crop: Crop) -> tuple[list[str], np.ndarray]:
    """(those galaxies whose image can be used, their crops uint8 (n, size, size, 3))."""
    crops = np.zeros((len(galaxies), crop.size, crop.size, 3), np.uint8)

    def one(row: int) -> bool:
        try:
            images.cut(images.source.read(images.names[galaxies[row]]), [crop], [crops[row]])
        except (DamagedImage, OSError, KeyError):
            return False
        return True

    with ThreadPoolExecutor(machine.cores()) as threads:
        rows = range(len(galaxies))
        usable = list(tqdm(threads.map(one, rows), total=len(rows), desc="label", unit="image", leave=False))
    return [galaxy for galaxy, good in zip(galaxies, usable, strict=True) if good], crops[np.array(usable, bool)]


def _joined(first: acquisition.Described, second: acquisition.Described | None) -> acquisition.Described:
    if second is None:
        return first
    return acquisition.Described(*map(np.concatenate, zip(first, second, strict=True)))


def _of_table(store: Store, looker: Looker, schema: Schema) -> acquisition.Described | None:
    """Some of the galaxies that stage 2 has cut, which are those with a label; None where it has not run."""
    if not store.crops(looker.crop_name, "train").exists():
        return None
    images, _ = store.load_crops(looker.crop_name, "train")
    if images.shape[1] != looker.crop.size:
        return None
    rows = np.sort(np.random.default_rng(0).permutation(len(images))[:LABELLED])
    joint, features = looker.describe(images[rows])
    return acquisition.described(schema, joint, features)


def _trained(plan: Plan, store: Store, schema: Schema) -> Looker | None:
    """The plan's last run of which every fold is trained; None where there is none."""
    whole = [run for run in plan.runs if all(store.trained(run.name, k).exists() for k in range(plan.folds))]
    if not whole:
        return None
    if store.schema().questions != schema.questions:
        raise UserError("the label schema has changed since the networks of the plan were trained")
    name = whole[-1].name
    member = classifier.trained_member(store, schema, name, plan.folds, "single")
    digests = [store.trained(name, fold).digest()[:12] for fold in range(plan.folds)]
    model = {"name": f"{plan.name}/runs/{name}", "digest": "-".join(digests)}
    return Looker(member.crop, member.run.crop, model, _by_folds(member), True)


def _by_folds(member: "Member"):
    predictor = member.predictor()

    def describe(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vote fractions, the mean over the folds, and the features of the first fold."""
        total, first = 0.0, None
        for weights in member.folds:
            predictor.load(weights)
            if first is None or not predictor.only_head:
                with tqdm(total=len(images), desc="label", unit="galaxy", leave=False) as bar:
                    features = predictor.features(images, bar.update)
            first = features if first is None else first
            total = total + predictor.predict_features(features)
        return total / len(member.folds), first

    return describe


def _pretrained(plan: Plan, store: Store, schema: Schema) -> Looker:
    """The pretrained backbone of the plan's last run that has one; UserError where there is none."""
    run = next((run for run in reversed(plan.runs) if run.first_weights != "random" and not run.start_from), None)
    if run is None:
        raise UserError("no run is trained, and none starts from pretrained weights")
    model = {"name": f"{run.backbone}, pretrained", "digest": ""}
    return Looker(plan.crops[run.crop], run.crop, model, _by_backbone(plan, store, schema, run, model), False)


def _by_backbone(plan: Plan, store: Store, schema: Schema, run: Run, model: dict[str, str]):
    from pipeline.core import views
    from pipeline.nn import network
    from pipeline.nn.predict import predict_views, require_plausible

    sizes = {"stored": plan.crops[run.crop].size, "size": plan.input_size(run)}
    built = network.build(run, schema, **sizes, seed=0, given=store.given_weights(run))
    source = built.facts["weights"]
    if source["source"] == "random":
        raise UserError("no run is trained, and there are no pretrained weights")
    model["digest"] = str(source.get("sha256", source["source"]))[:12]

    def describe(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answers that are all as likely, and features."""
        with tqdm(total=len(images), desc="label", unit="galaxy", leave=False) as bar:
            seen = views.view_set("single")
            features = predict_views(built.for_prediction().features, images, seen, 64, bar.update)
        return acquisition.unknown(schema, len(images)), require_plausible(features, run.name)

    return describe
