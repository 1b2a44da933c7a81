"""Export an ensemble as one file or folder that other programs and languages can use.

reads   OUTPUT/PLAN/ensembles/NAME and the networks that it is made of
writes  DIR/model.onnx or DIR/saved_model/, and DIR/model.json: its inputs, outputs and how well it agrees

The model takes images, uint8 (n, 424, 424, 3) RGB, and gives vote fractions, float32 (n, 37), in the competition's
columns: crops, views, networks, blend and decision tree are inside. It is asked for galaxies drawn for the purpose,
and kept only where it answers as the pipeline does.

    python -m pipeline.export --ensemble OUTPUT/PLAN/ensembles/final --to DIR [--format onnx|saved-model] [--run NAME]
        [--views 8]
"""

import argparse
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import cli, cutout
from pipeline.classifier import Classifier, view_set_of
from pipeline.core import blend
from pipeline.core.tree import COLUMNS
from pipeline.errors import UserError
from pipeline.records import Artifact, atomic
from pipeline.sky import galaxy, render

if TYPE_CHECKING:
    from pipeline.nn.whole import Part

log = logging.getLogger(__name__)
FORMATS = {"onnx": "model.onnx", "saved-model": "saved_model"}
DRAWN = 8  # galaxies that the export is tried on
AGREES = 1e-4  # largest difference of any answer


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    made = cli.Parser(prog="./run.sh export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    made.add_argument("--to", type=Path, required=True, help="a folder, made where there is none")
    made.add_argument("--format", choices=FORMATS, default="onnx")
    made.add_argument("--run", help="only this run of the ensemble")
    made.add_argument("--views", help="views averaged per galaxy, by name or number; as trained")
    return made.parse_args(argv)


def drawn() -> np.ndarray:
    """Galaxies to compare answers on, uint8 (DRAWN, 424, 424, 3)."""
    rng = np.random.default_rng(0)
    return np.stack([render.render(galaxy.sample(rng), rng) for _ in range(DRAWN)])


def answers_of(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The pipeline's own answers (n, 37) for images (n, 424, 424, 3)."""
    crops = {
        crop: np.stack([cutout.resize(cutout.centre(image, crop.region), crop.size) for image in images])
        for crop in classifier.crops
    }
    return classifier.answer(crops).joint


def parts_of(classifier: Classifier) -> Iterator["Part"]:
    """Every network of the ensemble, loaded, with its share."""
    from pipeline.nn.whole import Part

    for member, share in zip(classifier.members, blend.per_column(classifier.weights), strict=True):
        for path in member.folds:
            predictor = member.predictor()
            predictor.load(path)
            yield Part(member.run, member.crop, predictor.network, predictor.views, share / len(member.folds))


def check(path: Path, run: Callable[[Path, np.ndarray], np.ndarray], classifier: Classifier) -> float:
    """The largest difference between the export's answers and the pipeline's; RuntimeError where it is too large."""
    images = drawn()
    gap = float(np.abs(run(path, images) - answers_of(classifier, images)).max())
    if not gap <= AGREES:
        raise RuntimeError(f"{path} answers otherwise than the pipeline: by up to {gap:.2g}, {AGREES:.0e} is allowed")
    return gap


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # other programs compute in float32, a GPU in less: nothing to compare with
    classifier = Classifier(options.ensemble, view_set_of(options.views), options.run)
    folder = options.to.expanduser().absolute()
    path = folder / FORMATS[options.format]
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--to {folder} is a file; expected a folder, or a place for a new one")

    from pipeline.nn import exporting, whole

    answer = whole.Whole(list(parts_of(classifier)))
    if options.format == "onnx":
        artifact = Artifact(folder / "model.json", (path,))
        artifact.begin()
        with atomic(path) as temporary:
            exporting.to_onnx(answer, temporary)
            gap = check(temporary, exporting.run_onnx, classifier)
    else:
        artifact = Artifact(folder / "model.json", (path / "saved_model.pb",))
        artifact.begin()
        temporary = folder / f".{FORMATS[options.format]}"
        shutil.rmtree(temporary, ignore_errors=True)
        exporting.to_saved_model(answer, temporary)
        gap = check(temporary, exporting.run_saved_model, classifier)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    spec = {
        "input": {
            "name": exporting.INPUT,
            "type": "uint8",
            "shape": [None, cutout.SIDE, cutout.SIDE, 3],
            "order": "RGB",
        },
        "output": {"name": exporting.OUTPUT, "type": "float32", "shape": [None, len(COLUMNS)], "columns": COLUMNS},
        "views": {member.run.name: member.run.views for member in classifier.members},
    }
    artifact.finish(spec, {"ensemble": classifier.digest}, largest_difference=gap)
    log.info("export     %s: %.0f MB, answers differ by %.1e at most", path, _bytes(path) / 1e6, gap)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    cli.start(main)
