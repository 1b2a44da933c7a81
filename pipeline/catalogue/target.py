"""The output table: resumable shards, joined to one file on request."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.catalogue import descriptions, image_stamps, shards, writers
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.image_stamps import ChangeDetector
from pipeline.catalogue.shards import Shard
from pipeline.core.durations import duration
from pipeline.errors import UserError
from pipeline.execution import locks
from pipeline.store.records import Artifact, atomic

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.catalogue.image_stamps import Changes

# facts in the record of a shard, summed in that of the table; "unlike" is not known where nothing was compared
SUMMED_FACTS = ("galaxies", "unread", "unlike", "seconds")


class Target:
    """The table to write, and the folder of its shards."""

    def __init__(self, path: Path):
        self.path = Path(os.path.abspath(path.expanduser()))  # without ..; links stay
        self.kind = writers.kind_of(self.path)
        self.joined = self.kind is not None
        self.folder = self.path.with_name(self.path.name + ".parts") if self.joined else self.path
        images = self.path.with_name(self.path.name + ".images.npy")
        self.table = Artifact(self.path.with_name(self.path.name + ".json"), (self.path, images))
        self.joining = self.folder / "_records" / "joining"  # there while a table of that name may be ours, unrecorded
        if self.path.is_dir() == self.joined and self.path.exists():
            raise UserError(f"--to {path}: {'a folder' if self.joined else 'a file'} of that name is there")

    def shard(self, i: int) -> Artifact:
        """Shard i. Readers of folders of Parquet files pass over what begins with an underscore."""
        records, name = self.folder / "_records", f"part-{i:05d}"
        return Artifact(records / f"{name}.json", (self.folder / f"{name}.parquet", records / f"{name}.images.npy"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process writes it for the length of the block; UserError where one does, or nobody can."""
        lock = self.table.lock if self.joined else self.folder / "_records" / ".lock"
        parts = sorted(self.folder.glob("part-*.parquet"))
        if parts and not (self.folder / "_records").is_dir():
            raise UserError(f"--to {self.path}: {parts[0].name} is there, and not of our making: choose another folder")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            locks.acquire(lock)
        except OSError as error:
            raise UserError(f"--to {self.path} cannot be written: {error.strerror}") from None
        try:
            yield
        finally:
            locks.release(lock)

    def is_whole(self, record: dict[str, Any], *, force: bool) -> bool:
        """Whether the table is there as the record says; UserError where another is, which is not `force`d away."""
        if not self.joined or not self.path.exists() or force:
            return False
        found = self.table.record()
        if found is None and self.joining.exists():
            return False
        if found is None or _differences(found, record):
            why = f" ({_differences(found, record)})" if found else ""
            raise UserError(
                f"--to {self.path} is there and is not what this command makes{why}: choose another name, or replace "
                f"it by --force"
            )
        if wrong := self.table.missing_or_resized() or self.table.checksum_mismatches():
            raise UserError(f"--to {self.path} is damaged: {wrong[0]}. Replace it by --force")
        return True

    def discarded(self) -> tuple[float, str]:
        """What is lost where all is made again: seconds of work, and a phrase; (0, "") where nothing is there.

        What is not of our making took nobody knows how long: infinity.
        """
        shards_of = sorted(self.folder.glob("_records/part-*.json"))
        found = [self.table] if self.joined else []
        facts = [made for artifact in [*found, *map(Artifact, shards_of, repeat(()))] if (made := artifact.facts())]
        if self.joined and self.path.exists() and not self.table.exists() and not self.joining.exists():
            return math.inf, f"{self.path}, which this command has not made"
        spent, count = (sum(made.get(fact, 0) for made in facts) for fact in ("seconds", "galaxies"))
        return (spent, f"{self.path}, {count:,} galaxies: {duration(spent)} of work") if facts else (0, "")


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """How a record differs from the wanted one; empty where it does not."""
    names = {
        "rows": "another catalogue, or other columns of it",
        "ensemble": "another ensemble",
        "images": "other --images",
        "keep": "other columns to --keep",
        "views": "other --views",
        "intervals": "other --intervals",
        "version": "other columns, of an earlier version",
        "id": "ids of another type",
        "run": "another run or another state of it",
        "fold": "another --fold",
        "type": "another --float32",
        "pca": "another --pca",
    }
    differing = [
        names.get(name, name)
        for part in ("spec", "made_from")
        for name in found[part].keys() | wanted[part].keys()
        if found[part].get(name) != wanted[part].get(name)
    ]
    return ", ".join(sorted(differing))


class ShardPlan:
    """Which shards a table consists of, and which of them are still to be made."""

    def __init__(self, galaxies: Galaxies, target: Target, wanted: list[dict[str, Any]], schema: "pa.Schema"):
        self.galaxies, self.target, self.wanted, self.schema = galaxies, target, wanted, schema
        self.detector = ChangeDetector(galaxies.where)
        self._changes: dict[int, Changes] = {}

    def missing(self, *, force: bool) -> Iterator[Shard | int]:
        """Every shard that is to be made, whole or in part; of those that are right, how many galaxies they hold."""
        self._clear_beyond(force)
        for i, batch in enumerate(self._batches(verified=False)):
            shard = Shard(batch, self.target.shard(i), **self.wanted[i], schema=self.schema)
            found = shard.artifact.facts()
            if not force and found and (differs := _differences(found, self.wanted[i])):
                raise self._strange(differs)
            whole = not force and found and not shard.artifact.missing_or_resized()
            whole = whole and not shard.artifact.checksum_mismatches()
            if whole and not len(changed := self._changed_rows(i, batch, shard.artifact)):
                yield len(batch)
                continue
            self._require_same(i, batch)
            yield shard._replace(rows=changed) if whole else shard

    def is_current(self) -> bool:
        """Whether all images of the joined table are those that were read. Else it is in shards again."""
        images, start = _stamps(self.target.table), 0
        now = images.copy()
        for i, batch in enumerate(self._batches()):
            rows = slice(start, start := start + len(batch))
            self._changes[i] = self.detector.compare(batch["image"].tolist(), images[rows])
            now[rows] = self._changes[i].seen
        if any(len(changes.changed) for changes in self._changes.values()):
            self._split()
            return False
        _refresh(self.target.table, now, images)
        shutil.rmtree(self.target.folder, ignore_errors=True)  # which a kill may have left
        return True

    def _split(self) -> None:
        """The shards that a joined table was made of, but for those that are there."""
        known = self.target.table.record()
        parts = writers.read(self.target.path, self.schema, [len(changes.seen) for changes in self._changes.values()])
        for (i, changes), part in zip(list(self._changes.items()), parts, strict=True):
            artifact = self.target.shard(i)
            if artifact.record() is not None:  # of an earlier try, and further on
                del self._changes[i]
                continue
            artifact.begin()
            with atomic(artifact.files[0]) as path:
                writers.write_parquet(iter([part]), self.schema, path)
            image_stamps.save(artifact.files[1], changes.seen)
            counts = shards.counts_of(part, compared="unlike" in known)
            artifact.finish(**self.wanted[i], **counts, seconds=known["seconds"] * len(part) / known["galaxies"])

    def _changed_rows(self, i: int, batch, artifact: Artifact) -> np.ndarray:
        """Rows of a shard whose images are others by now."""
        known = _stamps(artifact)
        changes = self._changes.get(i) or self.detector.compare(batch["image"].tolist(), known)
        if not len(changes.changed):
            _refresh(artifact, changes.seen, known)
        return changes.changed

    def _batches(self, *, verified: bool = True) -> Iterator:
        """The galaxies' batches, once more; UserError where they are not what they were at the first time."""
        for i, (batch, _) in enumerate(zip_longest(self.galaxies.batches(), self.wanted)):
            if verified or batch is None or i >= len(self.wanted):
                self._require_same(i, batch)
            yield batch

    def _require_same(self, i: int, batch) -> None:
        """UserError where a batch is not what it was at the first time."""
        known = self.wanted[i]["made_from"]["rows"] if i < len(self.wanted) else None
        if batch is None or shards.rows_digest(batch) != known:
            raise UserError(f"{self.galaxies.path} was changed while it was read: give the same command again")

    def _clear_beyond(self, force: bool) -> None:
        """Shards after the last go, if that is wanted."""
        records = self.target.folder.glob("_records/part-*.json")
        beyond = [path for path in records if int(path.stem.split("-")[1]) >= len(self.wanted)]
        if beyond and not force:
            raise self._strange("another catalogue")
        for path in beyond:
            for file in (path, *self.target.shard(int(path.stem.split("-")[1])).files):
                file.unlink(missing_ok=True)

    def _strange(self, why: str) -> UserError:
        return UserError(
            f"{self.target.folder} holds shards of something else ({why}): choose another --to, or replace them by "
            f"--force"
        )

    def facts(self) -> dict[str, float]:
        """SUMMED_FACTS, those that all shards know."""
        records = [self.target.shard(i).record() for i in range(len(self.wanted))]
        if None in records:
            raise UserError(f"shards have gone from {self.target.folder} meanwhile: give the same command again")
        known = [key for key in SUMMED_FACTS if all(key in record for record in records)]
        return {key: sum(record[key] for record in records) for key in known}

    def tables(self) -> Iterator["pa.Table"]:
        """The whole table, a part after the other."""
        import pyarrow.parquet as pq

        if self.target.joined:
            sizes = [len(batch) for batch in self._batches()]
            yield from writers.read(self.target.table.verified(), self.schema, sizes)
        else:
            shards_of = (self.target.shard(i) for i in range(len(self.wanted)))
            yield from (pq.read_table(shard.verified(), schema=self.schema) for shard in shards_of)

    def delete_shards(self) -> None:
        """All of them, and what is empty then."""
        shards_of = [self.target.shard(i) for i in range(len(self.wanted))]
        for path in (path for shard in shards_of for path in (shard.record_path, *shard.files)):
            path.unlink(missing_ok=True)
        if self.target.joined:
            shutil.rmtree(self.target.folder, ignore_errors=True)

    def join(self, record: dict[str, Any]) -> None:
        """One table of all shards; then the shards go."""
        import pyarrow.parquet as pq

        target, facts = self.target, self.facts()
        parts = [target.shard(i) for i in range(len(self.wanted))]
        target.joining.touch()
        target.table.begin()
        with atomic(target.path) as path:
            writers.write((pq.read_table(part.verified(), schema=self.schema) for part in parts), self.schema, path)
        image_stamps.save(target.table.files[1], np.concatenate([_stamps(part) for part in parts]))
        target.table.finish(**record, **facts, header=descriptions.header_of(self.schema))
        shutil.rmtree(target.folder, ignore_errors=True)


def _stamps(artifact: Artifact) -> np.ndarray:
    """What was read of the images of a shard, or of the table, as it was written."""
    name = artifact.files[1].name
    return np.load(artifact.verified(name))


def _refresh(artifact: Artifact, now: np.ndarray, known: np.ndarray) -> None:
    """Note other stamps of the same images, so that they are not read again for them."""
    if np.array_equal(now, known):
        return
    record = artifact.record()
    table, images = artifact.files
    artifact.begin()
    image_stamps.save(images, now)
    facts = {key: record[key] for key in (*SUMMED_FACTS, "header") if key in record}
    artifact.finish(record["spec"], record["made_from"], {table: record["files"][table.name]["sha256"]}, **facts)
