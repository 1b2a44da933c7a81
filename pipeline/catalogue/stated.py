"""Columns that say how far the answers hold, on request: ends of intervals, sets of answers, the class's confidence."""

from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.catalogue import columns
from pipeline.catalogue.readers.part import Meaning
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.models.classifier import Answers
from pipeline.store.calibration import Calibration


def types(labels: Schema) -> dict[str, str]:
    """Column -> its type: of classes a set per question, else the ends of an interval per answer, and the confidence
    of the derived class where there is one. UserError where a name is that of an answer.
    """
    if labels.describes_classes:
        of = {f"{question.name}_set": "string" for question in labels.questions}
    else:
        of = {f"{column}_{end}": "float32" for end in ("low", "high") for column in labels.columns}
        of |= dict.fromkeys(confidence_column(labels), "float32")
    if taken := [name for name in columns.schema(labels, "int64", ()).names if name in of]:
        raise UserError(f"intervals need a column {taken[0]}, which is one of the answers' own: rename that answer")
    return of


def confidence_column(labels: Schema) -> tuple[str, ...]:
    """`five_class_confidence` for five; none where the schema derives no classes."""
    return tuple(f"{name}_confidence" for name in columns.class_columns(labels)[:1])


def values(calibration: Calibration, answers: Answers) -> dict[str, np.ndarray]:
    """Column -> its values (n,), for `types`; answers are NaN where an image could not be read."""
    labels, joint = calibration.schema, answers.joint
    if labels.describes_classes:
        return _sets(calibration, joint)
    ends = calibration.intervals(joint, answers.between_runs, answers.between_folds)
    by_column = (column for end in ends for column in end.T.astype(np.float32))
    made = [*by_column, *([calibration.confidence(joint)] if confidence_column(labels) else [])]
    return dict(zip(types(labels), made, strict=True))


def _sets(calibration: Calibration, joint: np.ndarray) -> dict[str, np.ndarray]:
    labels, read = calibration.schema, np.isfinite(joint).all(axis=1)
    found, made = calibration.sets(np.where(read[:, None], joint, 0)), {}
    for name, question, own in zip(types(labels), labels.questions, labels.slices, strict=True):
        texts = [", ".join(np.array(question.answers, object)[row]) for row in found[:, own]]
        made[name] = np.where(read, np.array(texts, object), None)
    return made


def meanings(labels: Schema, level: float) -> Iterator[tuple[str, Meaning]]:
    """What each of these columns means."""
    share = f"{100 * level:g} %"
    if labels.describes_classes:
        for question in labels.questions:
            said = f"{question.name}: answers of which the right one is among {share} of the time"
            yield f"{question.name}_set", Meaning("", "src.morph.type", said)
        return
    for column, answer in zip(labels.columns, labels.names, strict=True):
        said = answer.replace("_", " = ", 1)
        yield f"{column}_low", Meaning("", "stat.probability;stat.min", f"{said}: {share} interval from")
        yield f"{column}_high", Meaning("", "stat.probability;stat.max", f"{said}: {share} interval to")
    for name in confidence_column(labels):
        said = f"calibrated probability that {columns.class_columns(labels)[0]} is right, where votes are clear"
        yield name, Meaning("", "stat.probability;src.morph.type", said)


def described(calibration: Calibration) -> Mapping[str, str]:
    """What the header of a table says of it."""
    return {"interval": f"{calibration.level:g}, calibrated on {calibration.galaxies} galaxies out of fold"}
