"""One galaxy, read in full: its way down the decision tree, where answers come from, the galaxies most like it."""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pipeline.catalogue import lookup, pixels, thumbnails
from pipeline.catalogue.embedded import Embedded
from pipeline.commands.serve import words
from pipeline.core import classes, stats, tree
from pipeline.core.labels import Schema
from pipeline.models.classifier import Answers, Classifier
from pipeline.models.training_galaxies import TrainingGalaxies
from pipeline.report.pictures import data_uri, overlay_cam
from pipeline.store.environment import environment
from pipeline.store.label_table import plain_id

VERSION = 1  # of the answer's fields; grows when one goes or changes its meaning
FIELDS = {  # of the answer in JSON -> what they are
    "version": "version of these fields",
    "ensemble": "that answers: plan/ensembles/name",
    "code": "version of the code",
    "caveats": "list of sentences on the ensemble, to know before its answers are used; empty: none known",
    "caveat": "why this answer should not be trusted as others are; empty: nothing does",
    "five_class": "the class whose answers get most",
    "share": "what that class has of all classes' answers together, from 1 / number of classes to 1",
    "why": "why that class is not where most votes lead; empty where it is",
    "besides": "list of what is answered to questions apart from the class's",
    "seen": "the image as it is cropped, a data: address",
    "questions": "list, parents first: text, name, parent (text of the answers that lead there, or null), reached "
    "(share of volunteers who would be asked), answers (list: text, column, joint = share of all volunteers, "
    "conditional = share of those asked, low and high = where nine in ten predictions of it by different networks and "
    "views lie (not the calibrated intervals of `classify --intervals`), spread = standard deviation of joint over "
    "networks and views)",
    "cams": "list: answer, and picture of where it comes from (Grad-CAM), a data: address",
    "neighbours": "list of the training galaxies found most alike: id, picture, five_class",
    "similar": "list of the galaxies of --features found most alike: id, picture, similarity (the cosine of the "
    "angle between standardised features); empty without --features",
}
NEAREST = 6  # galaxies shown
IN_MEMORY = 1 << 30  # bytes of features that are kept; more are read again for each image


class Reader:
    """An ensemble, and one of its networks looked into. Threads may call it; they wait for each other."""

    def __init__(self, ensemble: Path, view_set: str | None = None, features: Path | None = None):
        """`features`: a folder that `embed` has written, whose galaxies are searched too."""
        from pipeline.nn.activations import GradCam

        self.classifier = Classifier(ensemble, view_set)
        self.schema = self.classifier.schema
        self.member = self.classifier.members[self.classifier.compares]
        predictor = self.member.predictor()
        predictor.load(self.member.folds[0])
        self._network, self._lock = predictor.network, Lock()
        self._grad_cam = GradCam(predictor.network, self.member.run, 1)
        self._training = TrainingGalaxies(self.classifier)
        labels = self.classifier.store.load_labels().loc[self._training.ids]
        self._classes = classes.true_class(self.schema, labels.to_numpy())
        self._directions = _direction(self._training.features)
        self.about = {"version": VERSION, "ensemble": self.classifier.name, "code": environment()["code"]}
        self.about |= {"caveats": self.classifier.caveats}
        self._galaxies = None if features is None else SearchedGalaxies(features)
        self.searched = "" if features is None else str(features)

    def read(self, data: bytes) -> dict[str, Any]:
        """FIELDS for the image in a file's bytes, ready for JSON; DamagedImage where it is none."""
        crops = {crop: np.zeros((1, crop.size, crop.size, 3), np.uint8) for crop in self.classifier.crops}
        caveat = pixels.cut(data, list(crops), [images[0] for images in crops.values()])
        with self._lock:
            answers = self.classifier.answer(crops)
            shown = crops[self.member.crop]
            (unlike,) = self._training.caveats(answers.features)
            return self.about | {
                "caveat": "; ".join(filter(None, (caveat, unlike))),
                "five_class": self.schema.class_names[int(classes.predicted_class(self.schema, answers.joint)[0])],
                "share": _share(self.schema, answers.joint),
                "why": words.why_not_leading(self.schema, answers.joint[0]),
                "besides": words.besides(self.schema, answers.joint[0]),
                "seen": data_uri(shown[0]),
                "questions": questions(self.schema, answers),
                "cams": self._cams(shown, answers.joint),
                "neighbours": self._neighbours(answers.features),
                "similar": self._galaxies.similar(data) if self._galaxies else [],
            }

    def _neighbours(self, features: np.ndarray) -> list[dict[str, Any]]:
        similarity = self._directions @ _direction(self._training.standard(features))[0]
        best = np.argsort(-similarity, kind="stable")[:NEAREST]
        names = [*self.schema.class_names, "no clear class"]  # which is counted as -1
        return [
            {
                "id": plain_id(self._training.ids[i]),
                "picture": data_uri(self._training.picture(i)),
                "five_class": names[self._classes[i]],
            }
            for i in best
        ]

    def _cams(self, images: np.ndarray, joint: np.ndarray) -> list[dict[str, Any]]:
        from pipeline.nn.activations import network_input

        leading = tree.leading_answers(self.schema, joint)
        maps = self._grad_cam(images, leading)[0]
        picture = network_input(self._network, images)[0].round().astype(np.uint8)
        return [
            {"answer": self.schema.labels[self.schema.columns[column]], "picture": data_uri(overlay_cam(picture, cam))}
            for column, cam in zip(leading[0], maps, strict=True)
        ]


class SearchedGalaxies:
    """The galaxies of a folder of features, and the network that made these."""

    def __init__(self, folder: Path):
        self._found = Embedded(folder, "--features")
        self._network = self._found.network()
        size = 4 * self._found.dimension * len(self._found)
        self._parts = list(self._found.read()) if size <= IN_MEMORY else None

    def similar(self, data: bytes) -> list[dict[str, Any]]:
        """The NEAREST of them to the image in a file's bytes."""
        seen = lookup.look(self._found, self._network, data)
        parts = self._found.read() if self._parts is None else self._parts
        rows, cosines = lookup.nearest(parts, seen.direction[None], np.array([-1]), NEAREST).of(0)
        galaxies = self._found.table(rows)
        pictures = thumbnails.pictures(galaxies, *self._found.place_of_images(), self._found.crop)
        return [
            {"id": plain_id(name), "picture": data_uri(picture), "similarity": float(cosine)}
            for name, picture, cosine in zip(galaxies["id"], pictures, cosines, strict=True)
        ]


def _direction(standard: np.ndarray) -> np.ndarray:
    return standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-12)


def _share(schema: Schema, joint: np.ndarray) -> float:
    """What the leading class has of the classes' answers together: 1/classes (nothing is known) to 1."""
    five = joint[0, schema.class_columns]
    return float(five.max() / max(five.sum(), 1e-12))


def questions(schema: Schema, answers: Answers) -> list[dict[str, Any]]:
    """The questions, parents first: who reaches each, and its answers."""
    conditional = np.minimum(tree.to_conditional(schema, answers.joint)[0], 1)  # but for rounding
    low, high = stats.share_interval(conditional, tree.conditional_deviation(schema, answers.joint, answers.spread)[0])
    reached = tree.reached(schema, answers.joint)[0]
    order = [schema.slices.index(part) for part, _ in tree.in_tree_order(schema)]
    return [
        {
            "text": question.text,
            "name": question.name,
            "parent": " or ".join(schema.labels[column] for column in question.parents) or None,
            "reached": float(reached[number]),
            "answers": [
                {
                    "text": schema.texts[column],
                    "column": column,
                    "joint": float(answers.joint[0, schema.index[column]]),
                    "conditional": float(conditional[schema.index[column]]),
                    "low": float(low[schema.index[column]]),
                    "high": float(high[schema.index[column]]),
                    "spread": float(answers.spread[0, schema.index[column]]),
                }
                for column in question.columns
            ],
        }
        for number, question in ((number, schema.questions[number]) for number in order)
    ]
