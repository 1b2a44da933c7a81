"""The table to write: shards that go on where they were stopped, then joined to one file where that is wanted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.catalogue import tables
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.shards import Shard
from pipeline.errors import UserError
from pipeline.records import Artifact, atomic


class Target:
    """The table to write, and the folder of its shards."""

    def __init__(self, path: Path):
        self.path = path.expanduser().absolute()
        self.joined = self.path.suffix.lower() in tables.KINDS
        self.folder = self.path.with_name(self.path.name + ".parts") if self.joined else self.path
        self.table = Artifact(self.path.with_name(self.path.name + ".json"), (self.path,))
        if self.path.is_dir() == self.joined and self.path.exists():
            raise UserError(f"--to {self.path}: {'a folder' if self.joined else 'a file'} of that name is there")

    def shard(self, i: int) -> Artifact:
        """Shard i. Readers of folders of Parquet files pass over what begins with an underscore."""
        return Artifact(self.folder / "_records" / f"part-{i:05d}.json", (self.folder / f"part-{i:05d}.parquet",))

    def is_whole(self, record: dict, *, force: bool) -> bool:
        """Whether the table is there as the record says; UserError where another is, which is not `force`d away."""
        if not self.joined or not self.path.exists() or force:
            return False
        found = self.table.record()
        if found is None or {key: found[key] for key in record} != record or self.table.damage():
            raise UserError(
                f"--to {self.path} is there and is not what this command makes: choose another name, or make it anew "
                f"by --force"
            )
        return True


def missing(galaxies: Galaxies, target: Target, wanted: list[dict], force: bool) -> Iterator[Shard | int]:
    """Every shard that is not there yet; of those that are, how many galaxies they hold."""
    strange = UserError(
        f"{target.folder} holds shards of another catalogue, ensemble or other views: choose another --to, or make "
        f"them anew by --force"
    )
    beyond = [p for p in target.folder.glob("_records/part-*.json") if int(p.stem.split("-")[1]) >= len(wanted)]
    if beyond and not force:
        raise strange
    for path in beyond:
        path.unlink()
        (target.folder / f"{path.stem}.parquet").unlink(missing_ok=True)
    for i, (batch, record) in enumerate(zip(galaxies.batches(), wanted, strict=True)):
        shard = Shard(batch, target.shard(i), **record)
        found = shard.artifact.record()
        same = found and {key: found[key] for key in record} == record
        if same and not shard.artifact.damage() and not force:
            yield len(batch)
        elif found and not same and not force:
            raise strange
        else:
            yield shard


def join(target: Target, count: int, record: dict) -> None:
    """One table of all shards; then the shards go."""
    parts = [target.shard(i) for i in range(count)]
    target.table.begin()
    with atomic(target.path) as path:
        tables.write((pd.read_parquet(part.verified()) for part in parts), path)
    facts = {key: sum(part.record()[key] for part in parts) for key in ("galaxies", "unread", "seconds")}
    target.table.finish(**record, **facts)
    shutil.rmtree(target.folder)
