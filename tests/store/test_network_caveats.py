"""What is to be known of networks before their answers are used, told by records alone."""

import shutil

import pytest

from pipeline.report import caveats
from pipeline.store import network_caveats
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions, save_fractions
from pipeline.store.records import save_json
from pipeline.store.sealed_json import sealed
from tests.builders import finished_plan
from tests.builders.galaxy_zoo_2 import GZ2

FOLDS = {"vgg16": 3, "efficientnetb0": 3}


@pytest.fixture
def store(tmp_path) -> Store:
    """A finished plan on synthetic galaxies, whose VGG16 began at random weights; its code is committed."""
    store = finished_plan.make(tmp_path, n=30)[2]
    for run in FOLDS:
        for fold in range(3):
            alter(store.trained(run, fold), made={"code": "abc"})
    return store


def alter(artifact, **facts) -> None:
    save_json(artifact.record_path, sealed({**artifact.required(), **facts}))


def resealed(artifact) -> None:
    """Let the record be of the files as they are."""
    record = artifact.record()
    facts = {key: record[key] for key in record.keys() - {"spec", "made_from", "digest", "files", "made"}}
    artifact.finish(record["spec"], record["made_from"], **facts)


def told(store: Store) -> list[str]:
    return network_caveats.of_ensemble(store, "final", FOLDS)


def test_a_demo_of_random_weights_says_both(store):
    drawn, random = told(store)
    assert drawn.startswith("Trained on synthetic galaxies")
    assert "RANDOM weights" in random
    assert "vgg16" in random
    assert "efficientnetb0" not in random
    assert network_caveats.of_ensemble(store, "final", {"efficientnetb0": 3}) == [drawn]


def test_one_fold_of_random_weights_is_enough(store):
    alter(store.trained("efficientnetb0", 2), weights={"source": "random"})
    assert "vgg16, efficientnetb0" in told(store)[1]


def test_nothing_is_said_of_good_networks_on_observed_galaxies(store):
    alter(store.inputs(), folder="/data/galaxy-zoo")
    assert network_caveats.of_ensemble(store, "final", {"efficientnetb0": 3}) == []


def test_uncommitted_code(store):
    alter(store.trained("vgg16", 1), made={"code": "abc+"})
    assert "uncommitted changes" in told(store)[-1]


@pytest.mark.parametrize(("file", "known"), [("zoobot.safetensors", True), ("x.PTH", True), ("notop.h5", False)])
def test_a_convnext_from_a_file_that_may_know_the_galaxies(store, file, known):
    trained = store.trained("efficientnetb0", 0)
    weights = {"source": "file", "path": f"/x/{file}"}
    alter(trained, weights=weights, spec={"backbone": "convnexttiny"})
    assert not any("Zoobot" in sentence for sentence in told(store)), "votes for synthetic galaxies it never saw"
    alter(store.inputs(), folder="/data/galaxy-zoo")
    assert any("Zoobot" in sentence for sentence in told(store)) == known


def test_an_ensemble_no_better_than_a_baseline_of_the_same_galaxies(store):
    score = store.ensemble("final").required()["rmse"]
    now = {"inputs": store.inputs().digest(), "folds": store.folds().digest()}
    alter(store.baseline("mean"), rmse=score * 0.9, made_from=now | {"folds": "of an earlier plan"})
    alter(store.baseline("ridge"), rmse=score * 1.1, made_from=now)
    answers, worse = store.ensemble("final").verified("oof.parquet"), store.baseline("ridge").verified()
    save_fractions(worse, load_fractions(answers, GZ2) * 0.5, GZ2)
    resealed(store.baseline("ridge"))
    assert not any("baseline" in sentence for sentence in told(store))
    shutil.copy(answers, worse)  # no better galaxy by galaxy, whatever the scores say
    resealed(store.baseline("ridge"))
    (sentence,) = [sentence for sentence in told(store) if "baseline" in sentence]
    assert sentence.startswith(
        f"The ensemble's out-of-fold RMSE is {score:.4f}, not for certain better than {score * 1.1:.4f} of"
    )
    worse.unlink()  # which stops no answer
    (sentence,) = [sentence for sentence in told(store) if "baseline" in sentence]
    assert "of the baseline ridge: they cannot be compared (" in sentence
    alter(store.baseline("ridge"), rmse=score * 0.9)
    (sentence,) = [sentence for sentence in told(store) if "baseline" in sentence]
    assert (
        sentence
        == f"The ensemble's out-of-fold RMSE is {score:.4f}, no better than {score * 0.9:.4f} of the baseline ridge."
    )


def test_random_weights_that_the_plan_asks_for_are_no_alarm(tmp_path):
    _, plan, store = finished_plan.make(tmp_path, n=30)
    assert caveats.weight_sources(plan, store)["vgg16"] == ("RANDOM", True)
    for fold in range(3):
        trained = store.trained("vgg16", fold)
        alter(trained, spec=trained.required()["spec"] | {"first_weights": "random"})
    assert caveats.weight_sources(plan, store)["vgg16"] == ("random, as the plan asks", False)
    assert not list(network_caveats.random_weights(caveats.trained_records(plan, store)))


def test_nor_are_those_that_a_run_asked_for_from_which_another_starts(store):
    for fold in range(3):
        trained = store.trained("vgg16", fold)
        alter(trained, weights=trained.required()["weights"] | {"as_planned": True, "start_from": "other/runs/vgg16"})
    assert not any("RANDOM" in sentence for sentence in told(store))


@pytest.mark.parametrize(("text", "sentence"), [
    ("galaxies were left out", "Galaxies were left out."),
    ("quick/runs/a trained its head alone", "quick/runs/a trained its head alone."),
    ("3 galaxies were left out", "3 galaxies were left out."),
    ("labels.csv has them twice", "labels.csv has them twice."),
])  # fmt: skip
def test_a_sentence_begins_with_a_capital_where_that_is_no_name_of_a_file(text, sentence):
    assert network_caveats.as_sentence(text) == sentence
