"""A folder of the user's galaxies, checked: labels by their schema, images that match them, galaxies to predict."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.catalogue import galaxies
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.labelled import folder as folders
from pipeline.labelled import images, inference, people, table
from pipeline.labelled import labels as labelled
from pipeline.labelled.images import LabelledImages
from pipeline.labelled.labels import such_as
from pipeline.labelled.table import as_id_array
from pipeline.plans import label_schemas
from pipeline.plans.label_table import LabelTable
from pipeline.store.answers import Answers
from pipeline.store.artifacts import ID
from pipeline.store.fractions import fractions_frame


class Prepared(NamedTuple):
    """What stage 0 writes of a folder."""

    schema: Schema
    recorded: dict[str, Any]  # the schema, as records hold it
    given: LabelTable
    frame: pd.DataFrame  # fractions (n, c) by id, ascending
    votes: np.ndarray | None  # (n, q)
    names: list[str]  # of the images
    train: LabelledImages
    by_people: frozenset[int | str]  # ids of the galaxies that people labelled, and no table
    test: LabelledImages
    header: list[str]  # of a table of predictions
    test_ids: np.ndarray  # in the order of the sample file, if there is one
    prints: dict[str, Any]  # fingerprints of all that it is made from
    left_out: list[str]  # sentences
    named: bool  # whether the table names the images

    def part(self, train: np.ndarray, test: np.ndarray) -> "Prepared":
        """Of these rows of the training galaxies and of those to predict alone."""
        frame = self.frame.iloc[train]
        images = {galaxy: self.train.names[galaxy] for galaxy in frame.index.tolist()}
        return self._replace(
            frame=frame,
            train=LabelledImages(self.train.source, images),
            votes=None if self.votes is None else self.votes[train],
            names=[self.names[row] for row in train],
            by_people=self.by_people & set(frame.index),
            test_ids=self.test_ids[test],
        )


def prepare(folder: Path, given: str | None, folds: int, answers: Answers | None = None) -> Prepared:
    """Read and check a folder by a schema (a name or path; None: inferred); UserError lists every problem at once.

    With `answers` that people gave the folder needs no table of labels, and what people labelled is added to it.
    """
    answers = answers or Answers()
    files = folders.find(folder, needs_table=not answers.complete())
    table_rows, table_of_schema, name = read_table(files, given)
    schema, recorded = table_of_schema.schema(name), label_schemas.to_record(name, table_of_schema)
    of_table = people.labels_of_none(schema) if table_rows is None else labelled.read(schema, table_rows)
    rows = people.joined(schema, table_rows, of_table, answers)
    read = rows.labels
    keep, left_out, problems = _rows_to_keep(rows.ids, read.fractions)
    train, lost, wrong = _training_images(files, rows, keep)
    keep, problems = [i for i in keep if rows.ids[i].item() in train.names], problems + wrong
    left_out += rows.sentences + lost
    problems += read.problems or (labelled.occurrence_problems(schema, read.fractions[keep], folds) if keep else [])
    test = test_images(files.test)
    header, test_ids, wrong = _to_predict(files.sample, schema, test)
    if problems + wrong:
        raise UserError(_message(folder, problems + wrong))
    order = [keep[i] for i in np.argsort(rows.ids[keep], kind="stable")]
    ids = rows.ids[order].tolist()
    prints = {"labels": _print(files.labels)} if files.labels else {}
    prints |= {"train": _without(train, rows.by_people).fingerprint(), "test": test.fingerprint()}
    prints |= {"sample": _print(files.sample)} if files.sample else {}
    return Prepared(
        schema,
        recorded,
        given=table_of_schema,
        frame=fractions_frame(np.array(ids, rows.ids.dtype), read.fractions[order], schema),
        votes=None if read.votes is None else read.votes[order],
        names=[train.names[one] for one in ids],
        train=train,
        by_people=rows.by_people & set(ids),
        test=test,
        header=header,
        test_ids=test_ids,
        prints=prints | {"schema": recorded},
        left_out=left_out,
        named=rows.images is not None,
    )


def read_table(files: folders.Folder, given: str | None) -> tuple[table.Table | None, LabelTable, str]:
    """(the rows, None where there is no table; the schema as given or inferred; its name)."""
    known = label_schemas.load_table(given) if given else None
    if files.labels is None:
        if known is None:
            raise UserError(
                f"{files.place}: without a table of labels the plan says what is asked: a schema of the questions in a "
                f'file beside the plan, and in the plan labels = "FILE.toml"'
            )
        return None, known, label_schemas.path_of(given).stem
    rows = table.read(files.labels, known and known.id, known and known.image)
    return rows, known or inference.inferred(rows), label_schemas.path_of(given).stem if given else files.labels.stem


def _training_images(
    files: folders.Folder, rows: people.Known, keep: list[int]
) -> tuple[LabelledImages, list[str], list[str]]:
    """(the images of these rows, sentences on what has no counterpart, problems)."""
    source = images.open_source(files, named=rows.images is not None)
    ids = [rows.ids[i].item() for i in keep]
    names = images.matched(source, ids, [rows.images[i] for i in keep] if rows.images else None)
    lacking, where = [one for one in ids if one not in names], files.images or files.place
    found = LabelledImages(source, names)
    if not names and ids:  # of rows without labels nothing is asked
        whose = files.labels.name if files.labels else "those that people labelled"
        return found, [], [f"no galaxy of {whose} has an image ({_example(source, lacking)})"]
    return found, _unmatched(source, names, lacking, where), []


def _without(found: LabelledImages, ids: frozenset[int | str]) -> LabelledImages:
    return LabelledImages(found.source, {one: name for one, name in found.names.items() if one not in ids})


def _rows_to_keep(ids: np.ndarray, fractions: np.ndarray) -> tuple[list[int], list[str], list[str]]:
    """(rows with labels, the first of each id; what was left out; problems)."""
    first, other = labelled.contradicting(ids, fractions)
    problems = [f"ids that stand there again with other labels: {such_as(dict.fromkeys(other))}"] if other else []
    left_out = []
    if not other and len(first) < len(ids):
        left_out.append(f"{len(ids) - len(first):,} rows repeat a galaxy with the same labels and were left out")
    empty = np.isnan(fractions).all(axis=1)
    if empty[first].any():
        left_out.append(f"{such_as(ids[first][empty[first]])} without any label were left out")
    return [int(i) for i in first if not empty[i]], left_out, problems


def _unmatched(source: Any, names: dict, lacking: list, where: Path) -> list[str]:
    """Sentences on labels without images and images without labels."""
    made = [f"labels without an image in {where}: {such_as(lacking)}; left out"] if lacking else []
    if others := sorted(set(source.names()) - set(names.values())):
        made.append(f"images without a label in {where}: {len(others):,} (such as {others[0]}); left out")
    return made


def _example(source: Any, lacking: list) -> str:
    there = next(iter(source.names()), None)
    such = f"such as {lacking[0]}; " if lacking else ""
    return f"{such}the images are named such as {there}" if there else f"{such}no images were found"


def test_images(place: Path | None) -> LabelledImages:
    """The images to predict, each named by its file; none where there is no place of them."""
    if place is None:
        return LabelledImages(images.Paths(Path()), {})
    source = images.images.open_source(str(place))
    names = sorted(source.names())
    ids = as_id_array(galaxies.ids_of(names, place)) if names else np.zeros(0, np.int64)
    return LabelledImages(source, dict(zip(ids.tolist(), names, strict=True)))


def _to_predict(sample: Path | None, schema: Schema, test: LabelledImages) -> tuple[list[str], np.ndarray, list[str]]:
    """(header of a table of predictions, ids in order, problems), by the sample file where there is one."""
    if sample is None:
        return [ID, *schema.columns], test.ids, []
    frame = pd.read_csv(sample, dtype=str, keep_default_na=False)
    ids, problems = as_id_array(frame.iloc[:, 0].str.strip().tolist()), []
    if sorted(frame.columns[1:]) != sorted(schema.columns):
        problems.append(f"{sample.name}: expected the columns {', '.join(schema.columns[:4])}, … beside its ids")
    if sorted(map(str, ids)) != sorted(map(str, test.ids)):
        problems.append(f"{sample.name}: its {len(ids):,} ids are not those of the {len(test):,} images to predict")
    return list(frame.columns), ids, problems


def table_has_changed(folder: Path, recorded: dict[str, Any]) -> bool:
    """Whether the table of labels in a folder is there, and is not the one of these recorded fingerprints."""
    try:
        labels = folders.find(folder, needs_table=False).labels
    except UserError:  # which stage 0 tells
        return False
    return labels is not None and "labels" in recorded and _print(labels) != recorded["labels"]


def _print(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _message(folder: Path, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{folder}: {problems[0]}; nothing was written"
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return f"the labels and images in {folder} have {len(problems)} problems; nothing was written:\n{lines}"
