"""A finished ensemble, and what is said where there is none."""

import pytest

from pipeline.errors import UserError
from pipeline.models.classifier import Classifier


@pytest.mark.parametrize("given", [
    "output", "output/demo", "output/demo/ensembles", "output/demo/ensembles/finale", "output/dmo/ensembles/final",
    "output/demo/ensembles/final/ensemble.json", "output/demo/submissions/final.csv", "output/dmo",
])  # fmt: skip
def test_where_there_is_no_ensemble_those_that_exist_are_listed(tmp_path, given):
    for name in ("demo/ensembles/final", "demo/ensembles/both"):
        (tmp_path / "output" / name).mkdir(parents=True)
        (tmp_path / "output" / name / "ensemble.json").write_text("{}")
    with pytest.raises(UserError, match="expected an ensemble such as OUTPUT/PLAN/ensembles/NAME") as error:
        Classifier(tmp_path / given)
    for name in ("final", "both"):
        assert f"{tmp_path}/output/demo/ensembles/{name}" in str(error.value)


def test_where_there_are_none_that_is_said(tmp_path):
    with pytest.raises(UserError, match="there is none near it"):
        Classifier(tmp_path / "a" / "b" / "c" / "d")
