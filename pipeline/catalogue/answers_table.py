"""What `classify` said of galaxies, read back by their ids."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.catalogue import embedding
from pipeline.catalogue.embedded import Embedded
from pipeline.errors import UserError


def artifact_share(path: Path, galaxies: Embedded) -> np.ndarray:
    """(n,) share of a star or artifact of each galaxy of a folder, NaN where the table, Parquet, has not that galaxy.

    UserError where it is no such table, has no such answer, or has none of the galaxies.
    """
    try:
        table = ds.dataset(path.expanduser(), format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"--answers {path}: expected a table of `classify` in Parquet ({error})") from None
    names = [name for name in table.schema.names if any(word in name for word in embedding.ARTIFACT)]
    column = galaxies.record["artifact"] if galaxies.record["artifact"] in table.schema.names else None
    column = column or next((name for name in names if pa.types.is_floating(table.schema.field(name).type)), None)
    if column is None or "id" not in table.schema.names:
        raise UserError(
            f"--answers {path} has no answer for stars and artifacts, or no ids, among {', '.join(table.schema.names)}"
        )
    place = {str(name): row for row, name in enumerate(galaxies.column("id").tolist())}
    made = np.full(len(galaxies), np.nan)
    for batch in table.to_batches(columns=["id", column]):
        rows = np.array([place.get(str(name), -1) for name in batch.column("id").to_pylist()])
        values = batch.column(column).to_numpy(zero_copy_only=False)
        made[rows[rows >= 0]] = values[rows >= 0]
    if not np.isfinite(made).any():
        raise UserError(f"--answers {path} has none of the galaxies of {galaxies.folder}")
    return made
