"""Catalogues in the formats that astronomers use, read in batches: Parquet, CSV, FITS, VOTable."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError

KINDS = {".parquet": "parquet", ".csv": "csv", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}
NAMES = {  # what a column means -> names that it goes by, lower-case
    "id": ("id", "galaxyid", "galaxy_id", "objid", "obj_id", "object_id", "source_id", "dr7objid", "iauname", "name"),
    "ra": ("ra", "ra_deg", "raj2000", "_ra"),
    "dec": ("dec", "dec_deg", "dej2000", "decj2000", "_de"),
    "image": ("image", "path", "file", "filename", "file_loc", "url", "jpg_url", "cutout"),
    "pixel_scale": ("pixel_scale", "pixscale"),  # arcseconds a pixel of the image
    "radius": ("radius", "petror90", "petror90_r", "petro_r90"),  # arcseconds, the Petrosian 90 % radius
}


def kind_of(path: Path) -> str:
    """parquet, csv, fits or votable, by the suffix; UserError names them."""
    if path.suffix.lower() not in KINDS:
        raise UserError(f"{path}: expected a table by its suffix, one of {', '.join(KINDS)}")
    return KINDS[path.suffix.lower()]


def batches(path: Path, size: int, chosen: dict[str, str]) -> Iterator[pd.DataFrame]:
    """The catalogue, `size` rows at a time, with those of the columns id, ra, dec, image, … that it has.

    `chosen` says which of its columns is which, where that is not by a usual name. UserError where it has no id or is
    no such table.
    """
    reader = {"parquet": _parquet, "csv": _csv, "fits": _fits, "votable": _votable}[kind_of(path)]
    if not path.is_file():
        raise UserError(f"there is no catalogue {path}")
    try:
        for frame in reader(path, size):
            yield meant(frame, chosen, path)
    except (OSError, ValueError) as error:  # what readers of four libraries raise for what is none of their tables
        raise UserError(f"{path} cannot be read as {kind_of(path)}: {' '.join(str(error).split())[:200]}") from None


def meant(frame: pd.DataFrame, chosen: dict[str, str], path: Path) -> pd.DataFrame:
    """The columns that mean something here, under our names."""
    lower = {str(name).lower(): name for name in frame.columns}
    found = {}
    for meaning, names in NAMES.items():
        wanted = chosen.get(meaning)
        if wanted is not None and wanted not in frame.columns:
            raise UserError(f"{path} has no column {wanted!r}, only {', '.join(map(str, frame.columns[:12]))}")
        name = wanted or next((lower[n] for n in names if n in lower), None)
        if name is not None:
            found[meaning] = frame[name].to_numpy()
    if "id" not in found:
        raise UserError(
            f"{path}: no column of ids, such as {', '.join(NAMES['id'][:4])}, among "
            f"{', '.join(map(str, lower))[:200]}: name it by --id-column"
        )
    return pd.DataFrame(found)


def _parquet(path: Path, size: int) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
        yield batch.to_pandas()


def _csv(path: Path, size: int) -> Iterator[pd.DataFrame]:
    with pd.read_csv(path, chunksize=size, encoding="utf-8-sig") as reader:
        yield from reader


def _fits(path: Path, size: int) -> Iterator[pd.DataFrame]:
    from astropy.io import fits

    with fits.open(path, memmap=True) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise ValueError("no table in it")
        rows = tables[0].data
        flat = [name for name in rows.names if rows[name].ndim == 1]
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield pd.DataFrame({name: _native(part[name]) for name in flat})


def _votable(path: Path, size: int) -> Iterator[pd.DataFrame]:
    from astropy.table import Table

    whole = Table.read(path, format="votable")
    flat = [name for name in whole.colnames if whole[name].ndim == 1]
    for start in range(0, len(whole), size):
        yield pd.DataFrame({name: _native(np.asarray(whole[name][start : start + size])) for name in flat})


def _native(values: np.ndarray) -> np.ndarray:
    """In this machine's byte order, text as text."""
    values = np.asarray(values)
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace").astype(object)
    return values.astype(values.dtype.newbyteorder("="))
