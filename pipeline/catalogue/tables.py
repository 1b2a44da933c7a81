"""Tables written in the formats that astronomers use: Parquet, CSV, FITS, VOTable."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError

KINDS = {".parquet": "parquet", ".csv": "csv", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}


def kind_of(path: Path) -> str:
    """parquet, csv, fits or votable, by the suffix; UserError names them."""
    if path.suffix.lower() not in KINDS:
        raise UserError(f"{path}: expected a table by its suffix, one of {', '.join(KINDS)}")
    return KINDS[path.suffix.lower()]


def write(frames: Iterator[pd.DataFrame], path: Path) -> None:
    """All of the frames, which have the same columns, as one table in the format of the suffix."""
    kind = kind_of(path)
    if kind == "csv":
        for i, frame in enumerate(frames):
            frame.to_csv(path, mode="a" if i else "w", header=not i, index=False)
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        writer = None
        for frame in frames:
            rows = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or pq.ParquetWriter(path, rows.schema)
            writer.write_table(rows.cast(writer.schema))
        if writer:
            writer.close()
    else:
        astropy_table(pd.concat(frames)).write(path, format=kind, overwrite=True)


def astropy_table(frame: pd.DataFrame):
    """The frame as astropy's table; text that is missing is empty, which FITS can hold."""
    from astropy.table import Table

    texts = [name for name in frame if frame[name].dtype == object]
    return Table.from_pandas(frame.assign(**{name: frame[name].fillna("").astype(str) for name in texts}))
