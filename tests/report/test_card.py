"""A model card says what the records say, as hubs read it, and overwrites nothing of others."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.commands import card as command
from pipeline.core import metrics
from pipeline.errors import UserError
from pipeline.report import card
from pipeline.stages import ensemble
from pipeline.store.artifacts import Store
from tests.builders.galaxy_zoo_2 import GZ2


@pytest.fixture(scope="module")
def text(survey) -> str:
    return card.card(survey.store, "final", "model.onnx")


def test_the_front_matter_is_that_of_model_hubs_with_the_recorded_score(survey, text):
    before, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    assert before == ""
    assert body.startswith(card.MARK)
    assert told["library_name"] == "keras"
    (model,) = told["model-index"]
    assert model["name"] == "survey/final"
    (result,) = model["results"]
    assert {"task", "dataset", "metrics"} == set(result)
    score, held = result["metrics"]
    recorded = survey.store.ensemble("final").record()["rmse"]
    assert (score["type"], score["value"]) == ("rmse", pytest.approx(recorded, abs=1e-5))
    assert held["type"] == "coverage"
    assert 0.8 < held["value"] <= 1


def test_it_tells_data_networks_caveats_and_scores_of_the_records(survey, text):
    record, inputs = survey.store.ensemble("final").record(), survey.store.inputs().record()
    labels = survey.store.load_labels()
    oof = pd.read_parquet(survey.ensemble / "oof.parquet").loc[labels.index].to_numpy()
    assert "RANDOM weights, not from pretrained ones: head, fine." in text
    assert f"| **this ensemble** | {record['rmse']:.4f} |" in text
    for question, rmse in zip(GZ2.questions, metrics.rmse_per_question(GZ2, labels.to_numpy(), oof), strict=True):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {question.number} {question.text} |")]
        assert f"| {rmse:.4f} |" in line
    assert "30 galaxies of the folder `raw`, in 2 folds of 15, 15" in text
    assert inputs["digest"] in text
    for run, weights in record["weights"].items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {run} |")]
        assert f"| {np.mean(weights):.2f} | RANDOM |" in line
    assert "Under which licence is this ensemble" in text
    assert "Under which licence are the first weights" not in text  # random ones have none
    assert record["made"]["code"] in text
    assert "Beside this card: `model.onnx`" in text


def test_the_command_prints_or_writes_it_and_replaces_only_its_own(survey, tmp_path, capsys):
    command.main(survey.flags)
    assert capsys.readouterr().out.startswith("---\nlibrary_name: keras")
    path = tmp_path / "README.md"
    command.main([*survey.flags, "--ensemble", "final", "--to", str(path)])
    command.main([*survey.flags, "--to", str(path)])
    path.write_text("mine")
    with pytest.raises(UserError, match="is no card of ours"):
        command.main([*survey.flags, "--to", str(path)])
    assert path.read_text() == "mine"
    assert card.write_beside(tmp_path, "card") is None
    command.main([*survey.flags, "--to", str(path), "--force"])
    assert card.MARK in path.read_text()
    assert card.write_beside(tmp_path, f"{card.MARK} new") == path
    with pytest.raises(UserError, match="is a folder"):
        command.main([*survey.flags, "--to", str(tmp_path)])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is no file; without --to the card is printed"):
        command.main([*survey.flags, "--to", str(tmp_path / "pipe"), "--force"])
    with pytest.raises(UserError, match="--ensemble nobody: plan survey has final"):
        command.main([*survey.flags, "--ensemble", "nobody"])


def test_an_ensemble_of_one_run_that_run_alone_made_has_a_card(survey, tmp_path, capsys):
    shutil.copytree(survey.store.root, tmp_path / "survey")
    flags = [*survey.flags[:2], "--output", str(tmp_path)]
    with pytest.raises(UserError, match="--ensemble head: plan survey has final"):
        command.main([*flags, "--ensemble", "head"])
    ensemble.main([*flags, "--run", "head"])
    command.main([*flags, "--ensemble", "head"])
    assert "# survey/head\n" in capsys.readouterr().out


def test_its_score_is_that_of_all_galaxies_as_on_the_leaderboard_also_where_images_were_set_aside(survey, tmp_path):
    shutil.copytree(survey.store.root, tmp_path / "survey")
    store = Store(tmp_path / "survey", survey.store.flags)
    crops = store.crops("half", "train")
    aside = [int(store.load_labels().index[3])]
    crops.write({key: value for key, value in crops.required().items() if key != "seal"} | {"set_aside": aside})
    text = card.card(store, "final")
    assert "Out of fold: each of 30 galaxies" in text
    assert f"| **this ensemble** | {store.ensemble('final').fact('rmse', float):.4f} |" in text
    assert "of which 29 could be used" in text


def test_it_says_which_run_the_networks_were_before(survey, tmp_path):
    shutil.copytree(survey.store.root, tmp_path / "survey")
    store = Store(tmp_path / "survey", survey.store.flags)
    for fold in (0, 1):
        artifact = store.trained("fine", fold)
        record = {key: value for key, value in artifact.required().items() if key != "seal"}
        artifact.write(record | {"spec": record["spec"] | {"start_from": "other/runs/first"}})
    lines = [line for line in card.card(store, "final").splitlines() if "after those of `other/runs/first`" in line]
    assert [line[:8] for line in lines] == ["| fine |"]


def test_of_what_is_missing_or_outdated_there_is_no_card(survey, tmp_path):
    shutil.copytree(survey.store.root, tmp_path / "survey")
    store = Store(tmp_path / "survey", survey.store.flags)
    assert card.card(store, "final")
    artifact = store.inputs()
    artifact.write({k: v for k, v in artifact.record().items() if k != "seal"} | {"digest": "0" * 64})
    with pytest.raises(UserError, match=r"the labels of .* are not those that the ensemble final was made from"):
        card.card(store, "final")
    store.ensemble("final").record_path.unlink()
    with pytest.raises(UserError, match=r"ensemble.json is missing: run"):
        card.card(store, "final")
