"""The check when a fold is trained: silent where prediction is right, and nothing recorded where it is not."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.commands import export
from pipeline.errors import Defect, UserError
from pipeline.models import classifier, prediction_check
from pipeline.models.predictor import Predictor
from pipeline.plans.config import load_plan
from pipeline.stages import folds, insight, predict, train
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import fabricated, keras_weights, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

N, SIZE = 24, 32
ROOT = Path(__file__).parents[2]
RUNS = """
[[runs]]
name = "b0"
backbone = "efficientnetb0"
crop = "small"
pooling = "multi"
views = "flips4"
precision = "float32"
"""


def prepared(folder: Path, *, fine: bool) -> tuple[list[str], Store]:
    """(flags, store) of a plan with one run of an EfficientNet, whose crops are there."""
    phase = "fine_tune = { epochs = 1, learning_rate = 1e-5 }" if fine else "head_phase = { epochs = 2 }"
    text = fabricated.PLAN[: fabricated.PLAN.index("[[runs]]")].replace("sky = { train = 24, test = 6 }", "")
    text = text.replace('baselines = ["mean", "ridge"]', "baselines = []")
    (folder / "mine.toml").write_text(f'{text}{RUNS}{phase}\n[[ensembles]]\nname = "final"\nruns = ["b0"]\n')
    store = Store(folder / "out" / "mine")
    stage_outputs.inputs(store, stage_outputs.votes(N), stage_outputs.sample(6))
    pixels = keras_weights.images(N, SIZE)
    stage_outputs.crops(store, "small", train=pixels, test=pixels[:6], aside={})
    flags = ["--plan", str(folder / "mine.toml"), "--output", str(folder / "out")]
    folds.main(flags)
    return flags, store


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return keras_weights.keras_file(
        "efficientnetb0", SIZE, tmp_path_factory.mktemp("keras") / "efficientnetb0_notop.h5"
    )


@pytest.fixture
def in_kerass_home(file, tmp_path, monkeypatch):
    """The file where Keras keeps what it has downloaded, with the checksum that Keras expects of it."""
    import hashlib

    from keras.src.applications import efficientnet

    (tmp_path / "keras" / "models").mkdir(parents=True)
    (tmp_path / "keras" / "models" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "keras"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    known = {"b0": ("", hashlib.md5(file.read_bytes()).hexdigest())}
    monkeypatch.setattr(efficientnet, "WEIGHTS_HASHES", efficientnet.WEIGHTS_HASHES | known)


def held_out_rmse(store: Store, fold: int) -> tuple[float, float]:
    """As training scored the fold, and as its predictions do."""
    return store.trained("b0", fold).record()["val_rmse"], store.predicted("b0", fold).record()["rmse"]


@pytest.mark.parametrize("fine", [pytest.param(True, marks=pytest.mark.slow), False])
def test_with_pretrained_weights_prediction_scores_what_training_scored(fine, in_kerass_home, tmp_path):
    flags, store = prepared(tmp_path, fine=fine)
    train.main(flags)
    predict.main(flags)
    for fold in range(2):
        record = store.trained("b0", fold).record()
        assert record["weights"]["source"] == "imagenet"
        assert record["prediction_differs_by"] < 1e-4
        trained, predicted = held_out_rmse(store, fold)
        assert predicted == pytest.approx(trained, abs=2e-2 if fine else 1e-5)  # scored at one view in fine-tuning
    test, oof = (load_fractions(path, GZ2).to_numpy() for path in store.predicted("b0", 0).files[::-1])
    rows = store.load_folds().to_numpy()[:6] == 0  # the test images are the first of the training images
    np.testing.assert_allclose(test[rows], oof[: rows.sum()], atol=1e-4)


@pytest.mark.slow
def test_a_file_given_and_one_that_keras_has_make_the_same_everywhere(file, in_kerass_home, tmp_path):
    """Training, prediction, insight, the classifier's answers and the exported file's."""
    from pipeline.stages import ensemble
    from pipeline.store.records import save_json

    made = []
    for where in ("keras", "given"):
        (tmp_path / where).mkdir(exist_ok=True)
        flags, store = prepared(tmp_path / where, fine=False)
        if where == "given":
            import hashlib

            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            told = {"path": str(file), "bytes": file.stat().st_size, "sha256": digest}
            save_json(store.weights_list(), {"efficientnetb0": told})
        for stage in (train, predict, insight, ensemble):
            stage.main(flags)
        answering = classifier.Classifier(store.ensemble("final").files[0].parent)
        (crop,) = answering.crops
        answers = answering.answer({crop: keras_weights.images(4, SIZE)}).joint
        export.main(["--ensemble", str(store.ensemble("final").files[0].parent), "--to", str(tmp_path / where / "x")])
        from pipeline.nn import exporting

        outside = exporting.run_onnx(tmp_path / where / "x" / "model.onnx", export.synthetic_galaxies())
        with np.load(store.insight("b0").files[0]) as inside:
            seen = inside["predicted"]
        made.append([*(load_fractions(path, GZ2) for path in store.predicted("b0", 1).files), answers, outside, seen])
    for one, other in zip(*made, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory):
    """(flags, store) of a head trained on the file's features."""
    from pipeline.store.records import file_digest, save_json

    flags, store = prepared(tmp_path_factory.mktemp("trained"), fine=False)
    told = {"path": str(file), "bytes": file.stat().st_size, "sha256": file_digest(file)}
    save_json(store.weights_list(), {"efficientnetb0": told})
    train.main(flags)
    return flags, store


def test_another_network_in_prediction_stops_the_stage_and_leaves_no_record(trained, monkeypatch):
    flags, store = trained
    record = store.trained("b0", 1).record()
    load = Predictor.load

    def lossy(self, weights, **keys):
        load(self, weights, **keys)
        norm = self.network.twin.backbone.get_layer("normalization")
        norm.set_weights([np.zeros(3), np.ones(3), np.array(0)])

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "load", lossy)
        with pytest.raises(Defect, match=r"^runs/b0/fold1, built as prediction builds it, predicts 8 .* by up to 0\."):
            train.main([*flags, "--fold", "1", "--force", "--yes"])
    assert store.trained("b0", 1).record() is None
    train.main([*flags, "--fold", "1"])
    again = store.trained("b0", 1).record()
    assert again["val_rmse"] == record["val_rmse"]
    assert again["files"]["model.weights.h5"] == record["files"]["model.weights.h5"]


def test_saved_predictions_are_compared_with_what_the_classifier_would_answer(trained, monkeypatch):
    flags, store = trained
    predict.main(flags)
    run = load_plan(flags[1]).run("b0")
    predictor = Predictor(run, GZ2, stored=SIZE, size=SIZE, precision="float32")
    predictor.load(store.trained("b0", 1).files[0])
    assert prediction_check.compare_with_saved(predictor, store, 1, "float32") < 1e-4
    with pytest.raises(Defect, match=r"runs/b0/fold0, as its predictions were saved, predicts"):
        prediction_check.compare_with_saved(predictor, store, 0, "float32")  # which are of another head
    predictor.run = run.model_copy(update={"views": "single"})
    assert prediction_check.compare_with_saved(predictor, store, 1, "float32") is None


def test_networks_of_another_graph_are_refused_by_name(trained):
    from pipeline.store.records import save_json
    from pipeline.store.sealed_json import sealed

    flags, store = trained
    artifact = store.trained("b0", 0)
    record, before = artifact.record(), artifact.record_path.read_bytes()
    older = {key: value for key, value in record["spec"].items() if key != "graph"}
    save_json(artifact.record_path, sealed(record | {"spec": older}))
    try:
        with pytest.raises(UserError, match="graph: None -> with ImageNet's second rescaling"):
            train.main(flags)
        for stage in (predict, insight):
            with pytest.raises(UserError, match=r"^runs/b0/fold0 was trained by another version .* efficientnetb0"):
                stage.main([*flags, "--force", "--yes"])
        with pytest.raises(UserError, match=r"fold 0 of b0 was trained by another version"):
            classifier.trained_member(store, store.schema(), "b0", 1, None)
    finally:
        artifact.record_path.write_bytes(before)


def test_a_defect_is_told_in_one_sentence_with_exit_code_1():
    code = (
        "from pipeline.models.prediction_check import require_agreement\n"
        "from pipeline import program\nimport numpy as np\n"
        "program.start(lambda: require_agreement(np.ones((8, 37)), np.zeros((8, 37)), 'runs/a/fold0', 'float32'))"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 1
    (line,) = [line for line in made.stderr.splitlines() if not line.startswith(("WARNING", "I0000", "To enable"))]
    assert line.startswith("error: runs/a/fold0 predicts 8 galaxies differently than expected: by up to 1; float32")


def test_not_a_number_is_no_agreement():
    with pytest.raises(Defect, match="by up to nan"):
        prediction_check.require_agreement(np.full((2, 37), np.nan), np.zeros((2, 37)), "x", "mixed_bfloat16")


@pytest.mark.parametrize("n", [1, 8, 9, 1000])
def test_some_are_spread_over_all_and_none_twice(n):
    rows = prediction_check.evenly_spaced(np.arange(100, 100 + n))
    assert len(rows) == len(set(rows.tolist())) == min(n, prediction_check.N_GALAXIES)
    assert {rows[0], rows[-1]} == {100, 99 + n}


def test_a_few_galaxies_at_once_are_the_mean_over_views(tiny):
    from pipeline.core import views
    from pipeline.nn.predict import predict_eagerly, predict_views

    seen = views.view_set("dihedral8")
    expected = predict_views(tiny.network.model, tiny.images[:3], seen, 8)
    np.testing.assert_allclose(predict_eagerly(tiny.network.model, tiny.images[:3], seen), expected, atol=1e-4)
    assert isinstance(tiny.network.model, keras.Model)
