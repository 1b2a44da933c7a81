"""The galaxies to classify: rows of a catalogue, or the images of a folder or archive."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, file_types, image_names, images, shards, writers
from pipeline.catalogue.table import Catalogue
from pipeline.core.labels import Schema
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
ROWS = 2048  # of a batch, which makes a shard
ARCHIVES = ("zip", "tar")


class Galaxies:
    """The rows to classify, in batches: a catalogue's, or one for every image of a folder or archive."""

    def __init__(self, path: Path, where: str | None, chosen: dict[str, str], whole_images: bool = False):
        """`where` its images lie and which of its columns are `chosen` as id, image, …, if it is a table.

        With `whole_images` no image is cropped by angle: radius and pixel scale count for nothing. UserError where
        the catalogue has no ids, or half of what cropping takes.
        """
        self.path, self.where, self._table = path.expanduser(), where, None
        if not self.path.is_dir() and file_types.content_of(self.path).kind not in ARCHIVES:
            self._table = Catalogue(self.path, chosen, whole_images=whole_images, beside=where is None)
            if self.where and "://" not in self.where:
                log_skipped(images.open_source(self.where).skipped, self.where)  # raises where the images are unusable
        elif where or chosen or whole_images:
            raise UserError(
                f"{self.path} is not a table: --images, --whole-images and the names of columns go with one"
            )
        else:
            self.where = str(self.path)
            self._names, self._ids = _listed(self.path)

    def batches(self) -> Iterator[pd.DataFrame]:
        """Frames of up to ROWS galaxies: id, image and, where the catalogue tells, ra, dec, radius, pixel_scale.

        Ids are objects: text in the whole catalogue, or NumPy integers in the whole of it. `image` is text, empty
        where the catalogue has none; the others are float64, NaN where it has none. UserError tells a galaxy whose id
        is missing or was rounded.
        """
        if self._table:
            yield from self._table.batches(ROWS)
            return
        for i in range(0, len(self._names), ROWS):
            some = slice(i, i + ROWS)
            yield pd.DataFrame({"id": pd.Series(self._ids[some], dtype=object), "image": self._names[some]})

    def survey(self, labels: Schema, kind: str = "parquet") -> "tuple[list[str], int, pa.Schema]":
        """(digest of every batch, number of galaxies, schema of a table of that kind): a first pass over all of them,
        so that mistakes, ids that the table cannot hold among them, are told before work begins.
        """
        digests, hashes, types, places = [], [], ["int64"], ()
        for batch in self.batches():
            writers.check_ids(batch["id"], kind, first=sum(map(len, hashes)))
            types.append(columns.id_type(batch["id"]))
            places = tuple(name for name in columns.COORDINATES if name in batch)
            digests.append(shards.rows_digest(batch))
            hashes.append(pd.util.hash_array(batch["id"].astype(str).to_numpy(object)))
        if not digests:
            raise UserError(f"{self.path} holds no galaxies")
        if self._table:
            self._table.tell_strange()
        self._refuse_twice(np.concatenate(hashes))
        schema = columns.schema(labels, max(types, key=columns.IDS.index), places)
        return digests, sum(map(len, hashes)), schema

    def _refuse_twice(self, hashes: np.ndarray) -> None:
        """UserError where an id stands there twice."""
        _, first = np.unique(hashes, return_index=True)
        if len(first) == len(hashes):
            return
        row = np.delete(np.arange(len(hashes)), first)[0]
        earlier = np.flatnonzero(hashes == hashes[row])[0]
        named = np.concatenate([batch["id"].to_numpy() for batch in self.batches()])[row]
        hint = self._table.other_ids() if self._table else ""
        raise UserError(
            f"{self.path}: the id {named} stands there twice, in galaxies {earlier + 1} and {row + 1}{hint}"
        )


def _listed(path: Path) -> tuple[list[str], list[str]]:
    """(names, ids) of the images of a folder or archive; UserError where there are none, or two of one name."""
    source = images.open_source(str(path))
    names = sorted(source.names())
    log_skipped(source.skipped, str(path))
    if not names:
        raise UserError(f"{path} holds no images ({', '.join(image_names.SUFFIXES)})")
    if repeated := source.repeated():
        raise UserError(f"{path}: names that stand there twice: {len(repeated):,} (such as {repeated[0]})")
    return names, ids_of(names, path)


def ids_of(names: list[str], path: Path) -> list[str]:
    """Ids for images: their names without folders and suffix, with folders where these repeat, else in full.

    UserError for names that are no text.
    """
    if strange := [name for name in names if not _is_text(name)]:
        raise UserError(f"{path}: file names that are not UTF-8: {len(strange):,}, such as {strange[0]!r}: rename them")
    stems = [image_names.stem_of(name) for name in names]
    short = [stem.rpartition("/")[2] for stem in stems]
    if len(set(short)) == len(names):
        return short
    made = stems if len(set(stems)) == len(names) else names
    log.info("%-10s %s: several images of one name, so ids tell their folders: %s, …", "classify", path, made[0])
    return made


def _is_text(name: str) -> bool:
    """Whether a name is Unicode: bytes of file names that are not come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def log_skipped(skipped: Counter[str], where: str) -> None:
    """Log how many files are no images, by suffix."""
    if skipped:
        kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in skipped.most_common())
        log.warning("%-10s %s: %s files passed over: %s", "classify", where, f"{skipped.total():,}", kinds)
