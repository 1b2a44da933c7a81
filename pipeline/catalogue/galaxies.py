"""The galaxies to classify: rows of a catalogue, or the images of a folder or archive."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, images, shards, tables, writers
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 2048  # of a batch, which makes a shard


class Galaxies:
    """The rows to classify, in batches: a catalogue's, or one for every image of a folder or archive."""

    def __init__(self, path: Path, where: str | None, chosen: dict[str, str]):
        """`where` its images lie and which of its columns are `chosen` as id and image, if it is a table."""
        self.path, self.where, self.chosen = path.expanduser(), where, chosen
        self.is_table = self.path.suffix.lower() in tables.KINDS and not self.path.is_dir()
        if not self.is_table:
            if self.where or self.chosen:
                raise UserError(f"{self.path} is not a table: --images, --id-column and --image-column go with one")
            self.where = str(self.path)
            self.names = list(images.open_source(self.where).names())
            if not self.names:
                raise UserError(f"{self.path} holds no images ({', '.join(images.SUFFIXES)})")
            if unfit := [name for name in self.names if not _is_utf8(name)]:
                raise UserError(f"{self.path}: the name {unfit[0]!a} is not in UTF-8: rename that file")
        elif self.where and "://" not in self.where:
            images.open_source(self.where)  # says what is wrong with it before anything is made

    def batches(self) -> Iterator[pd.DataFrame]:
        """Frames of up to ROWS galaxies with columns id, image and what else the catalogue tells of them."""
        if not self.is_table:
            for i in range(0, len(self.names), ROWS):
                names = self.names[i : i + ROWS]
                yield pd.DataFrame({"id": [Path(name).stem for name in names], "image": names})
            return
        for frame in tables.batches(self.path, ROWS, self.chosen):
            if "image" not in frame:
                if self.where is None:
                    raise UserError(f"{self.path} names no images: say where they lie, --images")
                frame = frame.assign(image=frame["id"].astype(str))
            elif self.where is None:
                frame = frame.assign(image=[_beside(self.path, str(name)) for name in frame["image"]])
            if ("pixel_scale" in frame) != ("radius" in frame):
                raise UserError(
                    f"{self.path}: to crop by angle takes two columns, radius (Petrosian 90 %) and pixel_scale, both "
                    f"in arcseconds; it has one of them"
                )
            yield frame.assign(image=frame["image"].astype(str))

    def survey(self, kind: str) -> "tuple[list[str], int, pa.Schema]":
        """(digest of every batch, number of galaxies, schema of a table of that kind): a first pass over all of them,
        so that mistakes, ids that the table cannot hold among them, are told before work begins.
        """
        digests, ids, types, places = [], [], ["int64"], ()
        for batch in self.batches():
            writers.check_ids(batch["id"], kind, first=sum(map(len, ids)))
            types.append(columns.id_type(batch["id"]))
            places = tuple(name for name in columns.PLACES if name in batch)
            digests.append(shards.digest_of(batch))
            ids.append(pd.util.hash_array(batch["id"].astype(str).to_numpy(object)))
        ids = np.concatenate(ids) if ids else np.empty(0)
        if not len(ids):
            raise UserError(f"{self.path} holds no galaxies")
        _, first = np.unique(ids, return_index=True)
        if len(first) < len(ids):
            row = np.delete(np.arange(len(ids)), first)[0]
            earlier = np.flatnonzero(ids == ids[row])[0]
            raise UserError(f"{self.path}: an id stands there twice, in galaxies {earlier + 1} and {row + 1}")
        return digests, len(ids), columns.schema(max(types, key=columns.IDS.index), places)


def _beside(catalogue: Path, name: str) -> str:
    """A path that a catalogue tells, from its own folder; an address as it is."""
    return name if "://" in name else str(catalogue.parent / name)


def _is_utf8(name: str) -> bool:
    """Whether it has no bytes that could not be read as text."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
