"""Catalogues in the field's partitioned layout, HATS, and folders of shards: every galaxy once, in one order."""

import numpy as np
import pandas as pd
import pytest

from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.readers import parquet_folder
from pipeline.errors import UserError

PIXELS = {(0, 4): 3, (1, 16): 2, (1, 161): 4}  # (order, pixel) -> galaxies in it


def hats(folder, name: str = "sky", inner: str = ".parquet"):
    """A HATS catalogue as hats-import lays it out: properties, metadata, a thumbnail of some rows, and the pixels."""
    root = folder / name
    number = 0
    for (order, pixel), count in PIXELS.items():
        path = root / "dataset" / f"Norder={order}" / "Dir=0" / f"Npix={pixel}{inner}"
        path.parent.mkdir(parents=True, exist_ok=True)
        index = np.arange(number, number + count)
        frame = pd.DataFrame({"_healpix_29": index << 40, "id": 1000 + index, "ra": index + 0.5, "dec": -1.0})
        frame.assign(image=[f"{i}.jpg" for i in index]).to_parquet(path, index=False)
        number += count
    (root / "hats.properties").write_text("dataproduct_type=object\nhats_col_ra=ra\n")
    (root / "partition_info.csv").write_text("Norder,Npix\n0,4\n1,16\n1,161\n")
    frame.to_parquet(root / "dataset" / "data_thumbnail.parquet")
    (root / "dataset" / "_metadata").write_bytes(b"PAR1")
    return root


def ids(path) -> list[int]:
    rows = pd.concat(Galaxies(path, None, {}).batches())
    assert rows["ra"].tolist() == [i - 999.5 for i in rows["id"]]
    return rows["id"].tolist()


@pytest.mark.parametrize("inner", [".parquet", "/part0.parquet"])
def test_a_catalogue_is_read_pixel_by_pixel_without_thumbnail_and_metadata(tmp_path, inner):
    assert ids(hats(tmp_path, inner=inner)) == list(range(1000, 1009))


def test_of_a_collection_the_primary_table_is_read_and_its_margin_is_not(tmp_path):
    hats(tmp_path / "survey")
    hats(tmp_path / "survey", "sky_10arcs")
    (tmp_path / "survey" / "collection.properties").write_text(
        "#HATS\nobs_collection=survey\nhats_primary_table_url = sky\nall_margins=sky_10arcs\n"
    )
    assert ids(tmp_path / "survey") == list(range(1000, 1009))
    (tmp_path / "survey" / "collection.properties").write_text("hats_primary_table_url=gone\n")
    with pytest.raises(UserError, match="expected hats_primary_table_url to name a folder beside it, not 'gone'"):
        Galaxies(tmp_path / "survey", None, {})


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 2, 1):
        frame = pd.DataFrame({"id": [1000 + i], "ra": [i + 0.5], "dec": 0.0, "image": "a.jpg"})
        frame.to_parquet(tmp_path / f"part-{i}.parquet")
    (tmp_path / "_records").mkdir()
    assert ids(tmp_path) == [1001, 1002, 1010]


def test_a_file_that_lacks_a_column_is_told(tmp_path):
    root = hats(tmp_path)
    path = root / "dataset/Norder=1/Dir=0/Npix=16.parquet"
    pd.read_parquet(path).drop(columns="ra").to_parquet(path)
    with pytest.raises(UserError, match=r"Npix=16.parquet has no column 'ra', which .*Npix=4.parquet has"):
        list(Galaxies(root, None, {}).batches())


def test_folders_of_images_stay_such(tmp_path):
    (tmp_path / "a.jpg").touch()
    pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "a.parquet")
    assert not parquet_folder.is_table(tmp_path)
    (tmp_path / "empty").mkdir()
    assert not parquet_folder.is_table(tmp_path / "empty")
    assert not parquet_folder.is_table(tmp_path / "a.parquet")
