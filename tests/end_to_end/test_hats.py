"""Answers go into HATS by hats-import, as the README shows it, and come back as a catalogue."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.commands import classify
from tests.builders import competition_files
from tests.builders.galaxy_zoo_2 import GZ2

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
(RECIPE,) = re.findall(r"^```python\n(from [^`]*?hats_import.*?)^```$", README, re.DOTALL | re.MULTILINE)


def catalogue(folder: Path, survey) -> Path:
    """Galaxies all over the sky, so that HATS puts them into several files."""
    ids = np.array(survey.test_ids)
    places = {"ra": np.linspace(0, 359, len(ids)), "dec": np.linspace(-80, 80, len(ids))}
    pd.DataFrame({"id": ids, "image": [f"{i}.jpg" for i in ids], **places}).to_parquet(folder / "galaxies.parquet")
    competition_files.folder_of(folder / "cutouts", {f"{i}.jpg": survey.images[i] for i in ids})
    return folder / "galaxies.parquet"


def classified(given: Path, survey, to: Path) -> None:
    images = to.parent / "cutouts"
    words = [given, "--images", images, "--ensemble", survey.ensemble, "--to", to, "--views", 1]
    classify.main([str(word) for word in words])


@pytest.mark.filterwarnings("ignore")  # those of lsdb and what it uses
def test_answers_go_into_hats_and_come_back(survey, tmp_path, monkeypatch):
    pytest.importorskip("hats_import", reason="hats-import is not installed")
    given = catalogue(tmp_path, survey)
    classified(given, survey, tmp_path / "answers")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "into_hats.py").write_text(RECIPE, encoding="utf-8")
    subprocess.run([sys.executable, "into_hats.py"], check=True)  # its processes import it, as they do no exec
    answered = pd.read_parquet(sorted(tmp_path.glob("answers/part-*.parquet"))).set_index("id")
    lsdb = pytest.importorskip("lsdb", reason="lsdb is not installed")
    sky = lsdb.open_catalog(tmp_path / "hats" / "answers", columns="all").compute()
    sky = pd.DataFrame({name: sky[name].to_numpy() for name in ("id", *GZ2.columns)}).set_index("id")
    assert (sky.loc[answered.index] == answered[list(GZ2.columns)]).all(axis=None)
    classified(tmp_path / "hats" / "answers", survey, tmp_path / "again")  # its images found by id
    again = pd.read_parquet(sorted(tmp_path.glob("again/part-*.parquet"))).set_index("id")
    assert not again["reason"].any()
    np.testing.assert_allclose(again.loc[answered.index, list(GZ2.columns)], answered[list(GZ2.columns)], atol=1e-5)
    np.testing.assert_allclose(again.loc[answered.index, ["ra", "dec"]], answered[["ra", "dec"]])
