"""The table of `embed`: the features of galaxies, in shards; VERSION grows when its columns change."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.catalogue import columns, shards
from pipeline.catalogue.readers.part import Meaning
from pipeline.core.labels import Schema
from pipeline.core.projection import Moments, Projection
from pipeline.errors import UserError
from pipeline.models import embedder
from pipeline.models.embedder import Embedder
from pipeline.store.records import Artifact, atomic

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.catalogue import images

VERSION = 1
TYPES = ("float16", "float32")
FITTED_ON = 2048  # training galaxies whose features the principal components are those of
ARTIFACT = ("artifact", "artefact")  # words for what is no galaxy
MEANINGS = {
    "image": Meaning("", "meta.ref", "name of the image"),
    "radius": Meaning("arcsec", "phys.angSize", "Petrosian 90 % radius, as in the catalogue"),
    "pixel_scale": Meaning("arcsec", "instr.pixel", "side of a pixel, as in the catalogue"),
    "artifact": Meaning("", "stat.probability", "share of volunteers who would see a star or an artifact"),
    "features": Meaning("", "", "pooled features of the network"),
}


def artifact_column(labels: Schema) -> str | None:
    """The answer that says that something is no galaxy; None where nobody was asked."""
    named = zip(labels.columns, labels.names, labels.texts.values(), strict=True)
    return next((c for c, *words in named if any(word in one.lower() for word in ARTIFACT for one in words)), None)


def layout(cropping: tuple[str, ...], dimension: int, kind: str) -> columns.Layout:
    """The schema of the table: `kind` is one of TYPES, `cropping` the columns by which images are cropped."""
    return partial(_schema, cropping, dimension, kind)


def _schema(
    cropping: tuple[str, ...],
    dimension: int,
    kind: str,
    labels: Schema,
    ids: str,
    places: tuple[str, ...],
    kept: object,
) -> "pa.Schema":
    import pyarrow as pa

    of = {"id": pa.type_for_alias(ids), **dict.fromkeys(places, pa.float64()), "image": pa.string()}
    of |= dict.fromkeys(cropping, pa.float64())
    of |= {"artifact": pa.float32()} if artifact_column(labels) else {}
    of |= {"features": pa.list_(pa.type_for_alias(kind.replace("float16", "halffloat")), dimension)}
    of |= dict.fromkeys(("reason", "caveat"), pa.string())
    told = {name: {k: text for k, text in meaning._asdict().items() if text} for name, meaning in MEANINGS.items()}
    return pa.schema([pa.field(name, of_type, metadata=told.get(name)) for name, of_type in of.items()])


class Worker(shards.Worker):
    """One network that makes features, and a source of images, held by one process."""

    def __init__(
        self,
        run: Path,
        fold: int,
        view_set: str | None,
        projection: "Path | None",
        where: "str | images.Source | None",
    ):
        self.embedder = embedder.of_process(run, fold, view_set)
        self.projection = load_projection(projection) if projection else None
        self._artifact = artifact_column(self.embedder.schema)
        self._open(where)

    @property
    def crops(self) -> list:
        """See shards.Worker."""
        return self.embedder.crops

    def _answered(self, galaxies: pd.DataFrame, schema: "pa.Schema") -> tuple["pa.Table", np.ndarray]:
        parts, blocks = [], []
        for block in self._blocks(galaxies):
            parts.append(self.embedder.features(block.crops[self.embedder.crop]))
            blocks.append(block._replace(crops={}))
        features, reasons = np.concatenate(parts), [reason for block in blocks for reason in block.reasons]
        read = np.array([not reason for reason in reasons], bool)
        made = galaxies.filter([*columns.COORDINATES, "id", "image", "radius", "pixel_scale"]).reset_index(drop=True)
        made["reason"], made["caveat"] = reasons, [caveat for block in blocks for caveat in block.caveats]
        if self._artifact:
            share = self.embedder.answers(features)[:, self.embedder.schema.index[self._artifact]]
            made["artifact"] = np.where(read, share, np.nan)
        reduced = features if self.projection is None else self.projection(features)
        return to_arrow(made, reduced, read, schema), np.concatenate([block.seen for block in blocks])


def to_arrow(frame: pd.DataFrame, features: np.ndarray, read: np.ndarray, schema: "pa.Schema") -> "pa.Table":
    """A frame of all but the features and these, float32 (n, k), null where an image was not `read`.

    UserError where they do not fit into the type of the schema.
    """
    import pyarrow as pa

    place = schema.get_field_index("features")
    others = columns.to_arrow(frame[[name for name in schema.names if name != "features"]], schema.remove(place))
    kind = schema.field(place).type
    with np.errstate(over="ignore"):
        values = features.astype(kind.value_type.to_pandas_dtype())
    if not np.isfinite(values[read]).all():
        raise UserError("features are too large for float16: add --float32, which takes twice the room")
    made = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), kind.list_size, mask=pa.array(~read))
    return others.add_column(place, schema.field(place), made).cast(schema)


def fit_projection(network: Embedder, k: int) -> Projection:
    """The first k principal components of the features of training galaxies; UserError for a k that is too large."""
    from sklearn.decomposition import PCA
    from tqdm import tqdm

    images = network.training_crops(FITTED_ON)
    most = min(network.dimension, len(images) - 1)
    if k > most:
        raise UserError(
            f"--pca {k}: the network makes {network.dimension:,} features, and the components are those of "
            f"{len(images):,} training galaxies: choose at most {most:,}"
        )
    with tqdm(total=len(images), desc="training galaxies", unit="galaxy", leave=False) as bar:
        features = network.features(images, bar.update)
    moments = Moments()
    moments.add(features)
    centre, width = moments.scale()
    fitted = PCA(k, random_state=0).fit((features - centre) / width)
    return Projection(centre, width, *(np.float32(v) for v in (fitted.components_, fitted.explained_variance_ratio_)))


def save_projection(artifact: Artifact, made: Projection, spec: dict, made_from: dict) -> None:
    """As one .npz file of the fields of Projection."""
    artifact.begin()
    with atomic(artifact.files[0]) as path:
        np.savez(path, **made._asdict())
    artifact.finish(spec, made_from)


def load_projection(path: Path) -> Projection:
    """What `save_projection` wrote, from its verified path."""
    with np.load(path) as found:
        return Projection(*(found[name] for name in Projection._fields))
