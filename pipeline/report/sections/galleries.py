"""Galleries: confident and right, confident and wrong, largest error, disagreement of runs, unusable images."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.material import Material, Section
from pipeline.report.pictures import img_tag
from pipeline.report.sections.calibration import spread
from pipeline.store import dependencies
from pipeline.store.label_table import plain_id

SHOWN = 12


def section(material: Material) -> Section:
    """Four galleries of at most a dozen galaxies."""
    (true, predicted), count = material.classes, len(material.schema.columns)
    certainty = material.best.predicted[np.arange(len(true)), material.schema.class_columns[predicted]]
    words, decides = material.words, material.decides
    clear, largest = words.clear, f"The {count} {words.values} furthest from the labels."
    clean, right = true >= 0, true == predicted
    galleries = [
        _gallery(material, "Confident and right",
                 f"{clear}, the right class, the highest {words.values} of each class.",
                 _class_by_class(np.where(clean & right, certainty, -np.inf), predicted), _class),
        _gallery(material, "Confident and wrong", f"{clear}, the wrong class, the highest {words.values}.",
                 np.where(clean & ~right, certainty, -np.inf), _class),
        _gallery(material, "Largest error", largest, material.best.errors,
                 _error),
    ]  # fmt: skip
    if len(material.runs) > 1:
        doubt = spread(material)
        galleries.append(
            _gallery(
                material,
                "Where runs disagree",
                "The widest spread of the runs.",
                doubt,
                _error,
            )
        )
    worst, error = galleries[2]["galaxies"][0], "a log loss" if decides.name == "log_loss" else "an error"
    wrong = int((clean & ~right).sum())
    finding = (
        f"Of {int(clean.sum()):,} galaxies {words.labelled} {wrong:,} get a wrong class; galaxy {worst['id']} is "
        f"predicted worst, with {error} of {worst['error']:.3f} over its {count} {words.values}."
    )
    facts = {"galleries": [one for one in galleries if one["galaxies"]], "aside": set_aside(material)}
    return Section("galleries", "Galleries", finding, facts)


def _class_by_class(order: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Minus the rank within the class, so that classes take turns."""
    place = pd.Series(-order).groupby(classes).rank(method="first")
    return np.where(np.isfinite(order), -place, -np.inf)


def _gallery(material: Material, title: str, what: str, order: np.ndarray, caption: Any) -> dict[str, Any]:
    """The galaxies with the highest finite values of `order` (n,)."""
    rows = np.argsort(-order, kind="stable")[:SHOWN]
    rows = rows[np.isfinite(order[rows])]
    return {"title": title, "what": what, "galaxies": [_galaxy(material, row, caption) for row in rows]}


def _galaxy(material: Material, row: int, caption: Any) -> dict[str, Any]:
    galaxy = plain_id(material.board.ids[row])
    error = float(material.decides.finish(material.best.errors[row]))
    picture = img_tag(material.thumbnails.uri(galaxy), f"galaxy {galaxy}")
    return {"id": galaxy, "picture": picture, "error": error, "caption": caption(material, row)}


def _class(material: Material, row: int) -> str:
    true, predicted = (int(part[row]) for part in material.classes)
    fraction = material.best.predicted[row, material.schema.class_columns[predicted]]
    answer = f"{material.schema.class_names[predicted]} {100 * fraction:.0f}\N{NO-BREAK SPACE}%"
    return answer if true == predicted else f"{answer}; {material.words.people}: {material.schema.class_names[true]}"


def _error(material: Material, row: int) -> str:
    truth, predicted = material.board.truth[row], material.best.predicted[row]
    column = int(np.nan_to_num(np.abs(truth - predicted)).argmax())
    percent = "\N{NO-BREAK SPACE}%"
    voted = f"{material.words.people} {100 * truth[column]:.0f}{percent}"
    fractions = f"{100 * predicted[column]:.0f}{percent}, {voted}"
    return f"{material.schema.labels[material.schema.columns[column]]}: {fractions}"


def set_aside(material: Material) -> list[dict[str, Any]]:
    """Images that could not be used, with the reason."""
    found = {}
    for crop in material.plan.crops:
        for split in dependencies.SPLITS:
            record = material.store.crops(crop, split).required()
            reasons = record.get("reasons") or {}
            for galaxy in record.get("set_aside") or []:
                found[galaxy] = {"id": galaxy, "split": split, "why": reasons.get(str(galaxy), "")}
    return [found[galaxy] for galaxy in sorted(found)]
