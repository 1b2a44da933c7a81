"""Export an ensemble as one file or folder that other programs and languages can use.

reads   OUTPUT/PLAN/ensembles/NAME and the networks that it is made of
writes  DIR/model.onnx, DIR/saved_model/ or DIR/model.tflite, DIR/model.json: its inputs, outputs and its largest
        difference, and DIR/README.md: its model card, of a whole ensemble with its own views

The model takes images, uint8 (n, 424, 424, 3) RGB (others are resized to that), and gives vote fractions, or
probabilities of classes, float32 (n, c), in the columns of the labels: crops, views, networks, blend and decision tree
are included, all in float32, also of networks that were trained in half precision. The file's metadata tell the names
of the columns, versions, the ensemble and its caveats; of LiteRT, which takes one galaxy at a time, model.json alone
does.

Each network is first checked against saved predictions of some held-out galaxies, where these and the crops exist; the
exported model is checked on synthetic galaxies, and kept only where it agrees with the pipeline in float32.

    ./run.sh export --ensemble OUTPUT/PLAN/ensembles/final --to DIR [--format onnx|saved-model|litert]
        [--run NAME] [--views 8]
"""

import argparse
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import cli, program
from pipeline.competition import cutout
from pipeline.core import blend
from pipeline.errors import Defect, UserError
from pipeline.models import prediction_check
from pipeline.models.classifier import Classifier, view_set_of
from pipeline.plans.crops import IMAGE_SIDE
from pipeline.report import card
from pipeline.sky import galaxy, render
from pipeline.store import folders
from pipeline.store.environment import environment
from pipeline.store.records import Artifact

if TYPE_CHECKING:
    from pipeline.nn.ensemble_graph import Member

log = logging.getLogger(__name__)
FORMATS = {"onnx": "model.onnx", "saved-model": "saved_model", "litert": "model.tflite"}
N_GALAXIES = 8  # synthetic galaxies for the check
VERSION = 1  # of the model's inputs, outputs and metadata
TOLERANCE = 1e-4  # largest difference of any answer


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="./run.sh export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    parser.add_argument("--to", type=Path, required=True, help="a folder, created if missing")
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--run", help="only this run of the ensemble")
    parser.add_argument("--views", help="views averaged per galaxy, by name or number; as trained")
    return parser.parse_args(argv)


def synthetic_galaxies() -> np.ndarray:
    """Galaxies to compare answers on, uint8 (N_GALAXIES, 424, 424, 3)."""
    rng = np.random.default_rng(0)
    return np.stack([render.render(galaxy.sample(rng), rng) for _ in range(N_GALAXIES)])


def pipeline_answers(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The pipeline's own answers (n, c) for images (n, 424, 424, 3)."""
    crops = {
        crop: np.stack(
            [cutout.resize(cutout.central_crop(image, crop.pixels(IMAGE_SIDE)), crop.size) for image in images]
        )
        for crop in classifier.crops
    }
    return classifier.answer(crops).joint


def members_of(classifier: Classifier) -> Iterator["Member"]:
    """Every network of the ensemble, loaded and compared with its saved predictions, with its share."""
    from pipeline.nn.ensemble_graph import Member

    for member, share in zip(classifier.members, blend.per_column(classifier.schema, classifier.weights), strict=True):
        trained_in = classifier.store.trained(member.run.name, 0).record()["precision"]
        for fold, path in enumerate(member.folds):
            predictor = member.predictor()
            predictor.load(path)
            if prediction_check.compare_with_saved(predictor, classifier.store, fold, trained_in) is None:
                log.info(
                    "export     %s: no predictions of fold %d by these views to compare with", member.run.name, fold
                )
            yield Member(
                member.run,
                member.crop,
                predictor.network,
                predictor.views,
                cutout.resize_matrix(member.crop),
                share / len(member.folds),
            )


def check(path: Path, run: Callable[[Path, np.ndarray], np.ndarray], classifier: Classifier) -> float:
    """The largest difference between the export's answers and the pipeline's in float32; Defect where it is large."""
    images = synthetic_galaxies()
    gap = float(np.abs(run(path, images) - pipeline_answers(classifier, images)).max())
    if not gap <= TOLERANCE:
        raise Defect(f"the export differs from the pipeline: by up to {gap:.2g}, {TOLERANCE:.0e} is allowed")
    return gap


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A folder within `folder` that is deleted in the end, as are `folder` and its parents that are new and empty."""
    new, work = [path for path in (folder, *folder.parents) if not path.exists()], folder / f".export-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for path in new:
            if not any(path.iterdir()):
                path.rmdir()


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # other programs compute in float32, a GPU in less: nothing to compare with
    folder = folders.folder_to_write("--to", options.to)
    program.writes_to(folder)
    path = folder / FORMATS[options.format]
    classifier = Classifier(options.ensemble, view_set_of(options.views), options.run)
    classifier.log_caveats("export")

    from pipeline.nn import ensemble_graph, exporting

    exporting.require_packages(options.format)
    write, run = exporting.FORMATS[options.format]
    classifier.set_precision("float32")  # as files of weights are; half precision is a choice of who computes
    spec, about = specification(classifier, options.format), provenance(classifier)
    with workspace(folder) as work:
        graph = ensemble_graph.EnsembleGraph(classifier.schema, members_of(classifier))
        log.info("export     converting %d networks", len(graph.members))
        write(graph, work / path.name, metadata(spec | about))
        log.info("export     comparing its answers with the pipeline's")
        gap = check(work / path.name, run, classifier)
        artifact = Artifact(
            folder / "model.json", (path / "saved_model.pb" if options.format == "saved-model" else path,)
        )
        artifact.begin()
        shutil.rmtree(path, ignore_errors=True)
        (work / path.name).replace(path)
        artifact.finish(spec, {"ensemble": classifier.digest}, largest_difference=gap, **about)
    if options.views:
        log.info("export     no model card: its scores would be of the ensemble's own views")
    else:
        _write_card(classifier, path)
    log.info("export     %s: %.0f MB, answers differ by %.1e at most", path, _bytes(path) / 1e6, gap)


def _write_card(classifier: Classifier, path: Path) -> None:
    """The model card beside the export, of a whole ensemble; the log says why where there is none."""
    store, name = classifier.store, classifier.folder.name
    if len(classifier.members) < len(store.ensemble(name).fact("weights", dict)):
        log.info("export     no model card: it would be of the whole ensemble")
        return
    try:
        written = card.write_beside(path.parent, card.card(store, name, path.name))
    except UserError as error:
        log.warning("export     no model card: %s", error)
        return
    log.info("export     %s", f"{written}: its model card" if written else "no model card: README.md there is not ours")


def specification(classifier: Classifier, form: str) -> dict[str, Any]:
    """Inputs and outputs of the exported model, and the views in it."""
    from pipeline.nn import exporting

    columns, galaxies = classifier.schema.columns, 1 if form == "litert" else None
    shape = [galaxies, IMAGE_SIDE, IMAGE_SIDE, 3]
    return {
        "input": {"name": exporting.INPUT, "type": "uint8", "shape": shape, "order": "RGB"},
        "output": {"name": exporting.OUTPUT, "type": "float32", "shape": [galaxies, len(columns)], "columns": columns},
        "views": {member.run.name: member.run.views for member in classifier.members},
    }


def provenance(classifier: Classifier) -> dict[str, Any]:
    """What a file that has left its folder says of itself."""
    return {
        "version": VERSION,
        "ensemble": classifier.name,
        "ensemble_digest": classifier.digest,
        "code": environment()["code"],
        "caveats": classifier.caveats,
    }


def metadata(facts: dict[str, Any]) -> dict[str, str]:
    """Facts as the metadata of a model: text as it is, else JSON; the names of the output's columns by themselves."""
    facts = facts | {"columns": facts["output"]["columns"]}
    return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()}


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
