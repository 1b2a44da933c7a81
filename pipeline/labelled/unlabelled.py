"""The galaxies of a folder that have an image and no label: whom people may be asked about."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.catalogue import galaxies
from pipeline.core.labels import Schema
from pipeline.errors import DamagedImage, UserError
from pipeline.labelled import folder as folders
from pipeline.labelled import images, labels
from pipeline.labelled.images import LabelledImages
from pipeline.labelled.inputs import read_table
from pipeline.plans import label_schemas


class Unlabelled(NamedTuple):
    """Galaxies to be labelled, and what is asked."""

    schema: Schema
    recorded: dict[str, Any]  # the schema, as records hold it
    images: LabelledImages  # by id, which is text
    labelled: int  # galaxies of the table


def find(folder: Path, given: str | None) -> Unlabelled:
    """The galaxies of a folder without a label; UserError where there are none."""
    files = folders.find(folder, needs_table=False)
    rows, table_of_schema, name = read_table(files, given)
    schema = table_of_schema.schema(name)
    source = images.open_source(files, named=rows is not None and rows.images is not None)
    known = {} if rows is None else dict(zip(map(str, rows.ids), rows.images or map(str, rows.ids), strict=True))
    labelled = set() if rows is None else _labelled(schema, rows)
    of_table = images.matched(source, list(known), list(known.values()))
    found = {galaxy: image for galaxy, image in of_table.items() if galaxy not in labelled}
    found |= _others(source, files, known, set(of_table.values()))
    if not found:
        raise UserError(
            f"{folder}: every image that is there has a label in {files.labels.name}: put images without one beside "
            f"them to have these labelled"
            if files.labels and labelled
            else f"{folder}: expected images to be labelled, in images/, images.zip or images.tar; there are none"
        )
    return Unlabelled(
        schema, label_schemas.to_record(name, table_of_schema), LabelledImages(source, found), len(labelled)
    )


def _labelled(schema: Schema, rows: Any) -> set[str]:
    known = ~np.isnan(labels.read(schema, rows).fractions).all(axis=1)
    return {str(one) for one, has_label in zip(rows.ids, known, strict=True) if has_label}


def _others(source: Any, files: folders.Folder, known: dict[str, str], taken: set[str]) -> dict[str, str]:
    """Images that no row of the table names, by the ids that they get; without those that an id does not lead to."""
    names = [name for name in source.names() if not _is_test(name, files)]
    found = {}
    for galaxy, name in zip(galaxies.ids_of(names, files.place), names, strict=True):
        if name not in taken and galaxy not in known and _leads_to(source, galaxy, name):
            found[galaxy] = name
    return found


def _is_test(name: str, files: folders.Folder) -> bool:
    """Whether it is one of the images to predict, where all images lie in the folder itself."""
    return files.images is None and files.test is not None and name.startswith(f"{files.test.name}/")


def _leads_to(source: Any, galaxy: str, name: str) -> bool:
    try:
        return source.find(galaxy) == name
    except DamagedImage:
        return False
