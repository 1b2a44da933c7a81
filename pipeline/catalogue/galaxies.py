"""The galaxies to classify: rows of a catalogue, or the images of a folder or archive."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, file_types, framing, image_names, images, remote, shards, writers
from pipeline.catalogue import kept as kept_columns
from pipeline.catalogue.readers import parquet_folder
from pipeline.catalogue.table import Catalogue, Taken
from pipeline.core.labels import Schema
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
ROWS = 2048  # of a batch, which makes a shard
ARCHIVES = ("zip", "tar")


class Galaxies:
    """The rows to classify, in batches: a catalogue's, or one for every image of a folder or archive."""

    def __init__(
        self,
        path: Path | str,
        where: str | None,
        chosen: dict[str, str],
        whole_images: bool = False,
        *,
        keep: Sequence[str] = (),
        table: str | None = None,
    ):
        """`path` may be an address; the others are of a table only.

        `where` its images lie; which of its columns are `chosen` as id, image, …, and which to `keep`; which `table`
        of a file of several. With `whole_images` no image is cropped by angle: radius and pixel scale count for
        nothing. UserError where the catalogue has no ids, or the place of the images is none.
        """
        self.path, self.where, self._table = Path(path).expanduser(), where, None
        self._address, folder = "", str(self.path.parent)
        if remote.is_address(str(path)):
            self._address, folder = str(path), str(path).partition("?")[0].rpartition("/")[0]
            self.path = remote.fetched(self._address, self)
        with self._named():
            self._open(Taken(chosen, table, tuple(keep), whole_images), folder)

    def _open(self, taken: Taken, folder: str) -> None:
        """The table or the images; paths in a table are told from `folder`."""
        if parquet_folder.is_table(self.path) or (
            not self.path.is_dir() and file_types.content_of(self.path).kind not in ARCHIVES
        ):
            self._table = Catalogue(self.path, taken, beside=folder if self.where is None else None)
            self._check_images()
        elif self._address:
            raise remote.is_archive(self._address)
        elif self.where or taken != Taken({}):
            raise UserError(
                f"{self.path} is not a table: --images, --whole-images, --keep, --table and the names of columns go "
                f"with one"
            )
        else:
            self.where = str(self.path)
            self._names, self._ids = _listed(self.path)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Sentences on the copy of a table at an address name the address."""
        try:
            yield
        except UserError as error:
            if not self._address:
                raise
            raise UserError(str(error).replace(str(self.path), self._address)) from None

    def _check_images(self) -> None:
        """Say what lies beside them; UserError where their place is none."""
        if self.where is None:
            return
        if remote.is_address(self.where):
            remote.require_usable(self.where)
            return
        source = images.open_source(self.where)
        log_skipped(source.skipped, self.where)
        self._table.require_cropping(own_scale=any(map(image_names.is_fits, source.names())))

    def batches(self) -> Iterator[pd.DataFrame]:
        """Frames of up to ROWS galaxies: id, image; where the catalogue tells, ra, dec, radius, pixel_scale; kept ones.

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

    def scales(self) -> str:
        """Where the scale of the images is from, as a phrase."""
        return framing.SOURCES[self.cropping]

    @property
    def cropping(self) -> tuple[str, ...]:
        """Which of the columns that cropping by angle takes the catalogue has."""
        return self._table.cropping if self._table else ()

    def survey(
        self, labels: Schema, kind: str = "parquet", layout: columns.Layout = columns.schema
    ) -> "tuple[list[str], int, pa.Schema]":
        """(digest of every batch, number of galaxies, schema of a table of that kind): a first pass over all of them,
        so that mistakes, ids that the table cannot hold among them, are told before work begins.

        `layout` makes the schema; by default that of `classify`.
        """
        with self._named():
            return self._survey(labels, kind, layout)

    def _survey(self, labels: Schema, kind: str, layout: columns.Layout) -> "tuple[list[str], int, pa.Schema]":
        digests, hashes, types, places, kept = [], [], ["int64"], (), self._table.kept if self._table else []
        may_be_fits, at_addresses = False, self.where is None or remote.is_address(self.where)
        kept_columns.require_other_names(kept, layout(labels, "int64", columns.COORDINATES, ()).names)
        writers.check_names(kept, kind)
        for batch in self.batches():
            self._check_batch(batch, kind, first=sum(map(len, hashes)))
            types.append(columns.id_type(batch["id"]))
            places = tuple(name for name in columns.COORDINATES if name in batch)
            may_be_fits = may_be_fits or (at_addresses and any(map(image_names.may_be_fits, batch["image"])))
            digests.append(shards.rows_digest(batch))
            hashes.append(pd.util.hash_array(batch["id"].astype(str).to_numpy(object)))
        if not digests:
            raise UserError(f"{self.path} holds no galaxies")
        if self._table:
            self._table.tell_strange()
            if at_addresses:
                self._table.require_cropping(own_scale=may_be_fits)
        self._refuse_twice(np.concatenate(hashes))
        schema = layout(labels, max(types, key=columns.IDS.index), places, kept)
        return digests, sum(map(len, hashes)), schema

    def _check_batch(self, batch: pd.DataFrame, kind: str, first: int) -> None:
        """UserError for what the table cannot hold, images that nothing here can fetch, or half a crop by angle."""
        writers.check_texts(batch["id"], kind, first, "id")
        for name in batch:
            if name.startswith(columns.KEPT):
                writers.check_texts(batch[name], kind, first, name.removeprefix(columns.KEPT))
        if self.where is None:
            for address in {name.partition("://")[0]: name for name in batch["image"] if "://" in name}.values():
                remote.require_usable(address)

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
    log.info("%-10s %s: several images of one name, so ids tell their folders: %s, …", "catalogue", path, made[0])
    return made


def _is_text(name: str) -> bool:
    """Whether a name is Unicode: bytes of file names that are not come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def log_skipped(skipped: Counter[str], where: str) -> None:
    """Log how many files are no images, by suffix."""
    if skipped:
        kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in skipped.most_common())
        files = f"{skipped.total():,} file" + "s" * (skipped.total() > 1)
        log.warning("%-10s %s: %s passed over: %s", "catalogue", where, files, kinds)
