"""One galaxy, read in full: its way down the decision tree, where answers come from, the galaxies most like it."""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.catalogue import columns, pixels
from pipeline.core import metrics, tree, views
from pipeline.models.classifier import Answers, Classifier
from pipeline.report.pictures import data_uri, overlay_cam

KNOWN, NEAREST, SEED = 2000, 6, 0  # training galaxies compared with, those shown, which


class Reader:
    """An ensemble, and the first of its networks looked into. Threads may call it; they wait for each other."""

    def __init__(self, ensemble: Path, view_set: str | None = None):
        from pipeline.nn.activations import GradCam

        self.classifier = Classifier(ensemble, view_set)
        self.member = self.classifier.members[0]
        predictor = self.member.predictor()
        predictor.load(self.member.folds[0])
        self._network, self._lock = predictor.network, Lock()
        self._grad_cam = GradCam(predictor.network, self.member.run, 1)
        self._know(self.classifier.store)

    def read(self, data: bytes) -> dict[str, Any]:
        """What the ensemble says of the image in a file's bytes, ready for JSON; DamagedImage where it is none."""
        crops = {crop: np.zeros((1, crop.size, crop.size, 3), np.uint8) for crop in self.classifier.crops}
        caveat = pixels.cut(data, list(crops), [images[0] for images in crops.values()])
        with self._lock:
            answers = self.classifier.answer(crops)
            shown = crops[self.member.crop]
            return {
                "caveat": caveat,
                "five_class": metrics.FIVE_CLASSES[int(metrics.five_class_predicted(answers.joint)[0])],
                "share": _share(answers.joint),
                "seen": data_uri(shown[0]),
                "questions": questions(answers),
                "cams": self._cams(shown, answers.joint),
                "neighbours": self._neighbours(shown),
            }

    def _know(self, store) -> None:
        """Features of some training galaxies, to find those that are like a new one."""
        images, ids = store.load_crops(self.member.run.crop, "train")
        some = np.sort(np.random.default_rng(SEED).permutation(len(ids))[:KNOWN])
        self._pictures, self._ids = images[some], ids[some]
        self._classes = metrics.five_class(store.load_labels().loc[self._ids].to_numpy())
        with tqdm(total=len(some), desc="training galaxies", unit="galaxy", leave=False) as bar:
            features = self._features(self._pictures, bar.update)
        self._centre, self._width = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
        self._known = self._direction(features)

    def _features(self, images: np.ndarray, progress=lambda n: None) -> np.ndarray:
        from pipeline.nn.predict import predict_views

        batch = min(64, len(images))
        return predict_views(self._network.for_prediction().features, images, views.view_set("single"), batch, progress)

    def _direction(self, features: np.ndarray) -> np.ndarray:
        standard = (features - self._centre) / self._width
        return standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-12)

    def _neighbours(self, images: np.ndarray) -> list[dict[str, Any]]:
        likeness = self._known @ self._direction(self._features(images))[0]
        best = np.argsort(-likeness, kind="stable")[:NEAREST]
        names = [*metrics.FIVE_CLASSES, "no clear class"]  # which is counted as -1
        return [
            {"id": int(self._ids[i]), "picture": data_uri(self._pictures[i]), "five_class": names[self._classes[i]]}
            for i in best
        ]

    def _cams(self, images: np.ndarray, joint: np.ndarray) -> list[dict[str, Any]]:
        from pipeline.nn.activations import network_input

        leading = tree.leading_answers(joint)
        maps = self._grad_cam(images, leading)[0]
        picture = network_input(self._network, images)[0].round().astype(np.uint8)
        return [
            {"answer": tree.ANSWERS[tree.COLUMNS[column]], "picture": data_uri(overlay_cam(picture, cam))}
            for column, cam in zip(leading[0], maps, strict=True)
        ]


def _share(joint: np.ndarray) -> float:
    """What the leading class has of the five classes' answers together: 0.2 (nothing is known) to 1."""
    five = joint[0, metrics.class_columns()]
    return float(five.max() / max(five.sum(), 1e-12))


def questions(answers: Answers) -> list[dict[str, Any]]:
    """The 11 questions, parents first: who reaches each, and its answers."""
    conditional, reached = tree.to_conditional(answers.joint)[0], tree.reached(answers.joint)[0]
    order = [tree.SLICES.index(part) for part, _ in tree.in_tree_order()]
    return [
        {
            "text": question.text,
            "name": columns.QUESTIONS[number],
            "parent": question.parent and tree.ANSWERS[question.parent],
            "reached": float(reached[number]),
            "answers": [
                {
                    "text": tree.ANSWERS[column],
                    "column": column,
                    "joint": float(answers.joint[0, tree.INDEX[column]]),
                    "conditional": float(conditional[tree.INDEX[column]]),
                    "spread": float(answers.spread[0, tree.INDEX[column]]),
                }
                for column in question.columns
            ],
        }
        for number, question in ((number, tree.QUESTIONS[number]) for number in order)
    ]
