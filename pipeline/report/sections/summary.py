"""The header of the report: the best score, the data, caveats, and galaxies from smooth to featured."""

from typing import Any

import numpy as np

from pipeline.core import metrics
from pipeline.report import caveats, leaderboard
from pipeline.report.material import Material
from pipeline.report.pictures import img_tag
from pipeline.store import dependencies

STRIP = 10  # galaxies


def summary(material: Material) -> dict[str, Any]:
    """The best entry that can be submitted, against the mean answer, and what it rests on."""
    plan, store, board, best = material.plan, material.store, material.board, material.best
    decides, schema = material.decides, material.schema
    mean = decides.of(decides.per_galaxy(schema, board.truth, out_of_fold_mean(board.truth, board.fold_of)))
    return {
        "best": best,
        "schema": schema,
        "words": material.words,
        "decides": decides,
        "mean": mean,
        "gain": 1 - best.score / mean,
        "weights": {source for source, _ in caveats.weight_sources(plan, store).values()},
        "drawn": dependencies.uses_synthetic_galaxies(plan, store),
        "galaxies": len(board.truth),
        "test": len(store.load_sample()[1]),
        "clean": int((material.classes[0] >= 0).sum()),
        "training": sum(leaderboard.cost_of_run(store, plan, run.name)[1] for run in plan.runs),
        "predicting": sum(unit.seconds for unit in dependencies.predict(plan, store)),
        "strip": strip(material),
        "strip_of": list(schema.labels.values())[schema.leading_column],
        "caveats": caveats.collect(plan, store, board),
    }


def strip(material: Material) -> list[dict[str, Any]]:
    """Galaxies at even steps of the predicted fraction of the answer that the tree hangs on, such as featured."""
    column = material.schema.leading_column
    featured = material.best.predicted[:, column]
    order = np.argsort(featured, kind="stable")
    rows = order[(np.linspace(0.01, 0.99, STRIP) * (len(order) - 1)).round().astype(int)]
    return [
        {"picture": img_tag(material.thumbnails.uri(material.board.ids[row]), f"galaxy {material.board.ids[row]}"),
         "predicted": float(featured[row]), "voted": float(material.board.truth[row, column])}
        for row in rows
    ]  # fmt: skip


def out_of_fold_mean(truth: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """For each galaxy the mean answer of the other folds: (n, c)."""
    made = np.empty_like(truth)
    for fold in np.unique(fold_of):
        made[fold_of == fold] = metrics.mean_answers(truth[fold_of != fold])
    return made
