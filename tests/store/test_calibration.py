"""A calibration is of the ensemble's own predictions and labels, or there is none."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core import conformal
from pipeline.errors import UserError
from pipeline.models.classifier import Classifier
from pipeline.store import calibration
from pipeline.store.artifacts import Store


@pytest.fixture
def store(survey, tmp_path) -> Store:
    """A copy that may be damaged."""
    shutil.copytree(survey.store.root, tmp_path / "survey")
    return Store(tmp_path / "survey", survey.store.flags)


def changed(artifact, **facts) -> None:
    artifact.write({key: value for key, value in artifact.record().items() if key != "seal"} | facts)


def test_it_rests_on_the_tables_of_the_stages(store):
    oof = calibration.load(store, "final")
    ids = sorted(oof.ids)
    assert len(ids) == 30
    blended = pd.read_parquet(store.ensemble("final").files[0]).loc[oof.ids]
    np.testing.assert_array_equal(oof.predicted, blended.to_numpy(np.float64))
    runs = [pd.concat([pd.read_parquet(store.predicted(run, k).files[0]) for k in range(2)]).loc[oof.ids]
            for run in ("head", "fine")]  # fmt: skip
    share = np.array([np.mean(weights) for weights in store.ensemble("final").record()["weights"].values()])
    np.testing.assert_allclose(oof.variance, share[0] * share[1] * np.square(runs[0] - runs[1]), atol=1e-6)
    fitted = calibration.fit(store.schema(), oof, 0.9)
    assert fitted.galaxies == 30
    assert all(map(np.array_equal, fitted.columns[0], conformal.calibrate(*oof[:3], 0.9)[0]))
    assert np.isnan(fitted.temperature), "too few have clear votes"


def test_galaxies_whose_images_could_not_be_used_calibrate_nothing(store):
    one = int(store.load_labels().index[3])
    changed(store.crops("half", "train"), set_aside=[one])
    ids = calibration.load(store, "final").ids
    assert len(ids) == 29
    assert one not in ids


OTHERS = {
    "labels": (lambda store: store.inputs(), "the labels"),
    "folds": (lambda store: store.folds(), "the folds"),
    "network": (lambda store: store.trained("fine", 1), r"the networks \(such as fine/fold1\)"),
    "predictions": (lambda store: store.predicted("head", 0), "the predictions of head/fold0"),
}


@pytest.mark.parametrize(("artifact", "said"), OTHERS.values(), ids=OTHERS)
def test_what_was_made_anew_since_is_told(store, artifact, said):
    calibration.require_current(store, "final")
    changed(artifact(store), digest="0" * 64)
    with pytest.raises(UserError, match=f"{said} .*, so its (inter|score).*: `./run.sh run --plan .*` brings it up"):
        calibration.require_current(store, "final")


def test_what_brings_an_ensemble_up_to_date_is_told_of_the_plan_as_it_is_now(survey, tmp_path):
    shutil.copytree(survey.store.root, tmp_path / "output" / "survey")
    store = Store(tmp_path / "output" / "survey")  # as a classifier opens it, which knows no plan
    text, mine = Path(survey.flags[1]).read_text(), tmp_path / "mine" / "survey.toml"
    mine.parent.mkdir()
    changed(store.predicted("head", 0), digest="0" * 64)
    told = {
        "the plan lies elsewhere": (None, "`./run.sh run --plan survey.toml --output .*` brings it up to date$"),
        "it is as it was": (text, f"`./run.sh run --plan {mine} --output .*` brings it up to date, or says what else"),
        "without the ensemble": (text.replace('"final"', '"other"'), f"{mine} names it no longer. Name it there again"),
    }
    changed(store.inputs(), plan=str(mine))
    for text, said in told.values():
        if text is not None:
            mine.write_text(text)
        with pytest.raises(UserError, match=f"predictions of head/fold0 .*: {said}"):
            Classifier(Store(store.root).ensemble("final").record_path.parent)


def test_answers_of_other_networks_than_the_ensembles_are_refused_and_what_cannot_be_told_is(store):
    folder = store.ensemble("final").record_path.parent
    changed(store.inputs(), digest="0" * 64)  # of which no answer depends
    assert not any("cannot be told" in sentence for sentence in Classifier(folder).caveats)
    changed(store.trained("fine", 1), digest="0" * 64)
    with pytest.raises(
        UserError, match=r"the networks \(such as fine/fold1\) in .* not those that the ensemble final was"
    ):
        Classifier(folder)
    assert Classifier(folder, only="head"), "whose networks are the same"
    store.predicted("fine", 1).record_path.unlink()
    (sentence,) = (sentence for sentence in Classifier(folder).caveats if "cannot be told" in sentence)
    assert sentence.startswith("The predictions that it was made of are gone (fine/fold1): whether these are still")
