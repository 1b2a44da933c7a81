"""Confusion matrices of the five classes and of each question, with examples of the most confused pairs."""

from typing import Any

import numpy as np

from pipeline.core import classes, metrics
from pipeline.report.formatting import percent, share
from pipeline.report.material import Material, Section
from pipeline.report.pictures import img_tag
from pipeline.store.label_table import plain_id

PAIRS, EXAMPLES = 4, 6  # most confused pairs that are shown, galaxies of each


def section(material: Material) -> Section:
    """The matrices and the most confused pairs."""
    (true, predicted), n = material.classes, len(material.schema.classes)
    five = matrix(true, predicted, material.schema.class_names)
    pairs = most_confused(material)
    if five is None:
        finding = f"No galaxy of this sample is {material.words.labelled}, clear enough for a class."
    elif not pairs:
        finding = f"All {five['n']:,} galaxies {material.words.labelled} get the right one of {n} classes."
    else:
        wrong, first = five["n"] - five["right"], pairs[0]
        finding = (
            f"Of {five['n']:,} galaxies {material.words.labelled} {wrong:,} ({share(wrong / five['n'])}) get another "
            f"class; {percent(first['n'] / wrong)} of these are {first['true']} galaxies predicted as "
            f"{first['predicted']}."
        )
    facts = {"five": five, "pairs": pairs, "questions": per_question(material), "best": material.best}
    facts |= {"words": material.words, "classes": material.schema.describes_classes}
    return Section("confusion", "Confusion matrices", finding, facts)


def matrix(true: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Counts and shares of each line by true (lines) and predicted class (columns); None where no galaxy counts."""
    counts = classes.confusion(true, predicted, len(names))
    if not counts.sum():
        return None
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    rows = [
        {"name": name, "total": int(total), "cells": list(zip(number.tolist(), part.tolist(), strict=True))}
        for name, total, number, part in zip(names, totals, counts, shares, strict=True)
    ]
    return {"rows": rows, "classes": names, "n": int(counts.sum()), "right": int(np.trace(counts))}


def per_question(material: Material) -> list[dict[str, Any]]:
    """For each question, the volunteers' leading answer against the predicted one, where half of them reached it."""
    schema, truth, predicted = material.schema, material.board.truth, material.best.predicted
    asked = metrics.mostly_asked(schema, truth)
    found = []
    for question, columns, rows in zip(schema.questions, schema.slices, asked.T, strict=True):
        true = np.where(rows, truth[:, columns].argmax(axis=1), -1)
        made = matrix(true, predicted[:, columns].argmax(axis=1), question.texts)
        found.append({"question": question, "matrix": made})
    return found


def most_confused(material: Material) -> list[dict[str, Any]]:
    """The off-diagonal cells with most galaxies, and their most confident examples."""
    (true, predicted), schema = material.classes, material.schema
    counts = classes.confusion(true, predicted, len(schema.classes))
    np.fill_diagonal(counts, 0)
    own = schema.class_columns
    found = []
    for cell in np.argsort(-counts, axis=None, kind="stable")[:PAIRS]:
        voted, model = np.unravel_index(cell, counts.shape)
        if counts[voted, model]:
            rows = np.flatnonzero((true == voted) & (predicted == model))
            surest = rows[np.argsort(-material.best.predicted[rows, own[model]], kind="stable")[:EXAMPLES]]
            found.append({
                "true": schema.class_names[voted],
                "predicted": schema.class_names[model],
                "n": int(counts[voted, model]),
                "galaxies": [_example(material, row, own[voted], own[model]) for row in surest],
            })  # fmt: skip
    return found


def _example(material: Material, row: int, voted: int, model: int) -> dict[str, Any]:
    """A galaxy with the volunteers' and the predicted fractions of the two classes' columns."""
    galaxy = plain_id(material.board.ids[row])
    truth, predicted = material.board.truth[row], material.best.predicted[row]
    return {
        "id": galaxy,
        "picture": img_tag(material.thumbnails.uri(galaxy), f"galaxy {galaxy}"),
        "people": (float(truth[voted]), float(truth[model])),
        "model": (float(predicted[voted]), float(predicted[model])),
    }
