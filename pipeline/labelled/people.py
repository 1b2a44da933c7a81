"""What people answered on the page of `label`, counted as votes beside the user's table, of which there may be none."""

from typing import NamedTuple

import numpy as np

from pipeline.core import answering
from pipeline.core.labels import Schema
from pipeline.labelled.labels import Labels, of_counts, such_as
from pipeline.labelled.table import Table, as_id_array
from pipeline.store.answers import Answers, Line, by_galaxy


class Known(NamedTuple):
    """Galaxies, those of the table first, and what is known of each."""

    ids: np.ndarray  # (n,) as of a table
    images: list[str] | None  # names; None: the id is the name
    labels: Labels
    by_people: frozenset[int | str]  # ids of the galaxies that people labelled
    sentences: list[str]  # on answers that are left out


def labels_of_none(schema: Schema) -> Labels:
    """The labels of no galaxy."""
    votes = np.zeros((0, len(schema.questions))) if schema.trains_on_votes else None
    return Labels(np.zeros((0, len(schema.columns))), votes, [])


def counted(schema: Schema, lines: list[Line]) -> tuple[list[str], Labels]:
    """(galaxies, their labels) of lines that are ways down the schema's tree: each is a vote."""
    galaxies = by_galaxy(lines)
    counts = [sum(answering.votes(schema, one.answers) for one in theirs) for theirs in galaxies.values()]
    made = of_counts(schema, np.array(counts).reshape(len(galaxies), len(schema.columns)))
    return list(galaxies), made if schema.trains_on_votes else made._replace(votes=None)


def joined(schema: Schema, rows: Table | None, labels: Labels, answers: Answers) -> Known:
    """The galaxies of a table, with its labels, and those that people labelled and it does not."""
    table_ids = [] if rows is None else rows.ids.tolist()
    images = rows and rows.images
    complete = answers.complete()
    fits = [answering.is_way(schema, line.answers) for line in complete]
    galaxies, votes = counted(schema, [line for line, fit in zip(complete, fits, strict=True) if fit])
    labelled = ~np.isnan(labels.fractions).all(axis=1)
    in_table = {str(one) for one, known in zip(table_ids, labelled, strict=True) if known}
    new = np.array([galaxy not in in_table for galaxy in galaxies], bool)
    added = [galaxy for galaxy in galaxies if galaxy not in in_table]
    keep = np.array([known or str(one) not in set(added) for one, known in zip(table_ids, labelled, strict=True)], bool)
    ids = as_id_array([*(one for one, kept in zip(table_ids, keep, strict=True) if kept), *added])
    return Known(
        ids if added else np.zeros(0, np.int64) if rows is None else rows.ids,
        images and _names(images, table_ids, keep, added),
        Labels(
            np.concatenate([labels.fractions[keep], votes.fractions[new]]),
            None if labels.votes is None else np.concatenate([labels.votes[keep], votes.votes[new]]),
            labels.problems,
        ),
        frozenset(ids[len(ids) - len(added) :].tolist()),
        _sentences(answers, [line.galaxy for line, fit in zip(complete, fits, strict=True) if not fit],
                   [galaxy for galaxy in galaxies if galaxy in in_table]),
    )  # fmt: skip


def _names(images: list[str], ids: list[int | str], keep: np.ndarray, added: list[str]) -> list[str]:
    """Names of the images of the galaxies kept and of those added, as the table has them, else their ids."""
    known = {str(one): name for one, name in zip(ids, images, strict=True)}
    return [name for name, kept in zip(images, keep, strict=True) if kept] + [known.get(one, one) for one in added]


def _sentences(answers: Answers, unfit: list[str], in_table: list[str]) -> list[str]:
    made = answers.sentences()
    if unfit:
        made.append(
            f"answers that the label schema no longer asks for were left out: of {such_as(unfit)}; they are kept, and "
            f"count again where the schema is restored"
        )
    if in_table:
        made.append(f"answers for galaxies that the table labels, too, were left out: {such_as(in_table)}")
    return made
