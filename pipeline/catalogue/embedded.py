"""A folder of features that `embed` has completed: its record, and its rows for those who compare galaxies."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalogue import embedding
from pipeline.catalogue.target import Target
from pipeline.core.projection import Moments
from pipeline.errors import UserError
from pipeline.models.embedder import Embedder
from pipeline.plans.crops import Crop
from pipeline.store.records import Artifact, atomic

PCA = "_pca.npz"  # in the folder; readers of folders of Parquet files pass over what begins with an underscore


def record_of(folder: Path) -> Artifact:
    """The record of the whole folder, written last, and the scale of its features."""
    records = folder / "_records"
    return Artifact(records / "embed.json", (records / "scale.npz",), mend="give the command `embed` again")


def projection_of(folder: Path) -> Artifact:
    """The principal components that the features were reduced to."""
    return Artifact(folder / "_records" / "pca.json", (folder / PCA,), mend="give the command `embed` with --force")


class Part(NamedTuple):
    """Some galaxies of the folder whose images could be read."""

    rows: np.ndarray  # (m,) of the whole table
    features: np.ndarray  # float32 (m, k), on the common scale


class Embedded:
    """The galaxies of a folder. UserError where it is none, is not complete, or is damaged."""

    def __init__(self, folder: Path, flag: str = "--to"):
        """`flag`: by which the folder was given."""
        self.folder = Path(os.path.abspath(folder.expanduser()))
        self._target, record = Target(folder), record_of(self.folder)
        if not record.exists():
            raise UserError(f"{flag} {folder}: {_why_not(self.folder)}: `./run.sh embed` makes a folder of features")
        self.record = record.required()
        self.parts = [self._target.shard(i) for i in range(record.fact("parts", int))]
        if digest_of(self.parts) != self.record["made_from"].get("parts"):
            raise UserError(
                f"{flag} {folder} was changed after it was completed: give the command `embed` that made it once more"
            )
        self._start = np.cumsum([0, *(part.fact("galaxies", int) for part in self.parts)])
        with np.load(record.verified()) as scale:
            self._centre, self._width = scale["centre"], scale["width"]

    def __len__(self) -> int:
        return int(self._start[-1])

    @property
    def crop(self) -> Crop:
        """What the network looks at of an image."""
        return Crop.model_validate(self.record["crop"])

    @property
    def dimension(self) -> int:
        """Number of features."""
        return len(self._centre)

    @property
    def is_text(self) -> bool:
        """Whether ids are text."""
        return self.record["spec"]["id"] == "string"

    @property
    def has_artifacts(self) -> bool:
        """Whether the network says what is a star or an artifact."""
        return bool(self.record["artifact"])

    def read(self) -> Iterator[Part]:
        """All galaxies whose image could be read, part by part."""
        for i in range(len(self.parts)):
            table = self._table(i, ["features"])
            there = table.column("features").is_valid().to_numpy()
            yield Part(self._start[i] + np.flatnonzero(there), self.standard(values_of(table)))

    def standard(self, features: np.ndarray) -> np.ndarray:
        """Features as they are stored (n, k) on the common scale: float32."""
        return (features.astype(np.float32) - self._centre) / self._width

    def features(self, rows: Sequence[int]) -> np.ndarray:
        """Features float32 (q, k) of rows of the table, on the common scale; UserError where a row has none."""
        made = []
        for row in rows:
            i, at = self._place(row)
            table = self._table(i, ["id", "features", "reason"]).slice(at, 1)
            if not table.column("features").is_valid()[0].as_py():
                said = table.to_pylist()[0]
                raise UserError(f"galaxy {said['id']} has no features: its image {said['reason']}")
            made.append(self.standard(values_of(table)))
        return np.concatenate(made) if made else np.empty((0, len(self._centre)), np.float32)

    def rows_of(self, names: Sequence[str]) -> list[int]:
        """The row of each id, as it is typed; UserError where there is none."""
        wanted, found = [self._typed(name) for name in names], {}
        for i in range(len(self.parts)):
            ids = self._table(i, ["id"]).column("id").to_pylist()
            found |= {name: self._start[i] + at for at, name in enumerate(ids) if name in wanted}
        missing = [name for name in wanted if name not in found]
        if missing:
            some = ", ".join(map(str, self._table(0, ["id"]).column("id").to_pylist()[:3]))
            raise UserError(f"--id {missing[0]}: none of the {len(self):,} galaxies of {self.folder} has that id; "
                            f"ids there are such as {some}")  # fmt: skip
        return [int(found[name]) for name in wanted]

    def _typed(self, name: str) -> str | int:
        if self.is_text:
            return name.strip()
        try:
            return int(name)
        except ValueError:
            raise UserError(f"--id {name}: the ids of {self.folder} are integers") from None

    def table(self, rows: np.ndarray) -> pd.DataFrame:
        """All but the features of rows of the table, in their order."""
        parts, at = np.searchsorted(self._start, rows, side="right") - 1, np.asarray(rows)
        frames = []
        for i in np.unique(parts):
            mine = np.flatnonzero(parts == i)
            names = [name for name in pq.read_schema(self.parts[i].files[0]).names if name != "features"]
            frame = self._table(i, names).take(at[mine] - self._start[i]).to_pandas()
            frames.append(frame.set_index(mine))
        return pd.concat(frames).sort_index() if frames else pd.DataFrame(columns=["id", "image"])

    def column(self, name: str) -> np.ndarray:
        """One column (n,) of the whole table."""
        return pa.concat_tables([self._table(i, [name]) for i in range(len(self.parts))]).column(name).to_numpy()

    def place_of_images(self) -> tuple[str | None, Path]:
        """(where the images lie, as `images.open_source` takes it; the folder that relative paths start from)."""
        return self.record["images"], Path(self.record["started_in"])

    def network(self, run: Path | None = None) -> Embedder:
        """The network that made the features, from where it was then or from `run`; UserError where it is another."""
        made_by = self.record["run"]
        found = Embedder(run or Path(made_by["folder"]), made_by["fold"], made_by["views"])
        if found.digest != self.record["made_from"]["run"]:
            raise UserError(
                f"{found.folder} is not the network that made the features of {self.folder} ({made_by['name']}, fold "
                f"{made_by['fold']}): name that one by --run, or give `embed` again for this one"
            )
        return found

    def stored(self, features: np.ndarray) -> np.ndarray:
        """Features of the network (n, d) as the folder stores them: reduced and rounded."""
        if self.record["spec"]["pca"]:
            features = embedding.load_projection(projection_of(self.folder).verified())(features)
        return features.astype(self.record["spec"]["type"])

    def _place(self, row: int) -> tuple[int, int]:
        """(part, row of it)."""
        i = int(np.searchsorted(self._start, row, side="right") - 1)
        return i, int(row - self._start[i])

    def _table(self, i: int, names: list[str]) -> pa.Table:
        return pq.read_table(self.parts[i].verified(), columns=names)


def values_of(table: pa.Table) -> np.ndarray:
    """Features (m, k) as they are stored, of the rows that have some; UserError where they are not finite."""
    column = table.column("features").drop_null().combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    if not np.isfinite(values).all():
        raise UserError("features that are not finite: they were not written by `embed`; make them again by --force")
    return values


def complete(folder: Path, parts: list[Artifact], spec: dict, run_digest: str, facts: dict[str, Any]) -> None:
    """Write the record of a folder whose parts are all there, with the scale of its features."""
    record, made_from = record_of(folder), {"run": run_digest, "parts": digest_of(parts)}
    known = record.facts()
    is_current = all(known.get(key) == value for key, value in ({"spec": spec, "made_from": made_from} | facts).items())
    if is_current and not record.missing_or_resized() and not record.checksum_mismatches():
        return
    moments = Moments()
    for part in parts:
        moments.add(values_of(pq.read_table(part.verified(), columns=["features"])))
    centre, width = moments.scale()
    width = np.ones_like(width) if spec["pca"] else width  # components were scaled before, and fall off as they should
    record.begin()
    with atomic(record.files[0]) as path:
        np.savez(path, centre=centre, width=width)
    record.finish(spec, made_from, parts=len(parts), started_in=os.getcwd(), **facts)


def digest_of(parts: list[Artifact]) -> str:
    """sha256 of the digests of all parts."""
    return hashlib.sha256(" ".join(part.facts().get("digest", "none") for part in parts).encode()).hexdigest()


def _why_not(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    if any(folder.glob("_records/part-*.json")):
        return "it is not complete, or of another command; the same `embed` command resumes"
    return "it holds no features"
