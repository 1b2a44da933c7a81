"""The exported model answers as the pipeline does, in another runtime; every family of backbones can be exported."""

import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest

from pipeline.catalogue import pixels
from pipeline.commands import export
from pipeline.competition import cutout
from pipeline.core import tree, views
from pipeline.errors import Defect, UserError
from pipeline.models.classifier import Classifier
from pipeline.plans.crops import Crop
from pipeline.plans.run import Run
from pipeline.store.environment import environment
from pipeline.store.records import save_json
from pipeline.store.sealed_json import sealed
from tests.builders.galaxy_zoo_2 import GZ2

CROPS = [Crop(region=256, size=128), Crop(region=256, size=160), Crop(region=280, size=224), Crop(region=200, size=200)]
CROPS += [Crop(region=424, size=106), Crop(region=420, size=140), Crop(region=160, size=200)]
FAMILIES = [
    "mobilenetv3small",
    "vgg16",
    "resnet50",
    "efficientnetb0",
    "efficientnetv2b0",
    "mobilenetv2",
    "convnexttiny",
]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return export.synthetic_galaxies()


@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_crops_of_the_graph_are_those_of_the_pipeline(images, crop):
    from pipeline.nn import ensemble_graph

    mine = np.asarray(ensemble_graph.make_cropper(crop, cutout.resize_matrix(crop))(images))
    other = np.stack([cutout.resize(cutout.central_crop(image, crop.region), crop.size) for image in images]).astype(
        float
    )
    assert np.abs(mine - other).max() <= 1
    enlarged = crop.size > crop.region  # by OpenCV in whole numbers, which no matrix tells
    assert (mine != other).mean() < (0.2 if enlarged else 1e-6)


def test_projection_of_the_graph_is_that_of_the_tree():
    from pipeline.nn import ensemble_graph

    values = np.random.default_rng(0).normal(0.3, 0.4, (400, 37)).astype(np.float32)
    made = np.asarray(ensemble_graph.project(GZ2, values))
    np.testing.assert_allclose(made, tree.project(GZ2, values), atol=2e-5)
    assert tree.violations(GZ2, made).max() < 1e-4


@pytest.mark.parametrize(
    "form", ["onnx", *(pytest.param(form, marks=pytest.mark.slow) for form in ("saved-model", "litert"))]
)
def test_an_ensemble_answers_the_same_outside(survey, images, tmp_path, form):
    export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path / "model"), "--format", form])
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    assert record["largest_difference"] <= 1e-4
    assert record["spec"]["output"]["columns"] == list(GZ2.columns)
    assert not list((tmp_path / "model").glob(".*"))
    assert f"Beside this card: `{export.FORMATS[form]}`" in (tmp_path / "model" / "README.md").read_text()
    if form == "litert":
        assert record["spec"]["input"]["shape"] == [1, 424, 424, 3]
        assert record["caveats"]
        return
    if form == "saved-model":
        told = json.loads((tmp_path / "model" / "saved_model" / "assets.extra" / "metadata.json").read_text())
    else:
        session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
        assert [(i.name, i.shape) for i in session.get_inputs()] == [("images", ["galaxies", 424, 424, 3])]
        assert [(o.name, o.shape) for o in session.get_outputs()] == [("vote_fractions", ["galaxies", 37])]
        told = session.get_modelmeta().custom_metadata_map
        decoded = np.stack([pixels.decode(survey.images[i])[0] for i in survey.test_ids])
        (made,) = session.run(None, {"images": decoded})
        expected = export.pipeline_answers(Classifier(survey.ensemble), decoded)
        np.testing.assert_allclose(made, expected, atol=1e-4)
        assert np.ptp(made[:, 0]) > 1e-4
    assert json.loads(told["columns"]) == list(GZ2.columns)
    assert (told["version"], told["ensemble"], told["code"]) == ("1", "survey/ensembles/final", environment()["code"])
    assert json.loads(told["caveats"]) == record["caveats"]
    assert "RANDOM weights" in record["caveats"][0]


def exported(name: str, path, images: np.ndarray, form: str = "onnx") -> float:
    """The largest difference between a backbone of random weights and its file of a format."""
    from pipeline.nn import ensemble_graph, exporting, network
    from pipeline.nn.predict import predict_views

    crop = Crop(region=256, size=96)
    run = Run(name="a", backbone=name, crop="c", on_missing_weights="random", head="tree", fine_tune={"epochs": 1})
    seen, levels = (
        views.view_set("flips4"),
        np.asarray(ensemble_graph.make_cropper(crop, cutout.resize_matrix(crop))(images)).astype(np.uint8),
    )
    built = network.build(run, GZ2, stored=crop.size, size=crop.size, seed=1, sample=levels, trained_as="float32")
    write, run_exported = exporting.FORMATS[form]
    write(
        ensemble_graph.EnsembleGraph(
            GZ2, [ensemble_graph.Member(run, crop, built, seen, cutout.resize_matrix(crop), np.ones(37))]
        ),
        path,
    )
    made = run_exported(path, images)
    answers = predict_views(built.for_prediction().model, levels, seen, 16)
    assert math.isfinite(made.sum())
    return float(np.abs(made - answers).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_backbones(name, tmp_path, images):
    assert exported(name, tmp_path / "model.onnx", images) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_backbones_in_litert(name, tmp_path, images):
    assert exported(name, tmp_path / "model.tflite", images, "litert") < 1e-4


def test_mistakes(survey, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path / "file")])
    with pytest.raises(UserError, match=r"--to .*/x.txt: expected a folder, .* give --to .*/x, or make that folder"):
        export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path / "x.txt")])
    assert not (tmp_path / "x.txt").exists()
    with pytest.raises(UserError, match=r"--run nobody: .* is made of head, fine"):
        export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path / "new"), "--run", "nobody"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("there", [False, True])
def test_of_an_export_that_fails_nothing_is_left(tmp_path, there):
    folder = tmp_path / "of" / "mine"
    if there:
        folder.mkdir(parents=True)

    def fail() -> None:
        with export.workspace(folder) as work:
            (work / "model.onnx").touch()
            raise Defect("the export differs")

    with pytest.raises(Defect):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == (["of", "mine"] if there else [])


@pytest.mark.slow
def test_what_answers_otherwise_is_not_kept(survey, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(Defect, match="the export differs"):
        export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path / "new"), "--run", "head"])
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_what_was_trained_in_half_precision_is_exported_in_float32(survey, tmp_path, precision):
    trained = [survey.store.trained(run, fold) for run in ("head", "fine") for fold in range(2)]
    before = [artifact.record_path.read_bytes() for artifact in trained]
    try:
        for artifact in trained:
            save_json(artifact.record_path, sealed(artifact.record() | {"precision": precision}))
        export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path)])
    finally:
        for artifact, content in zip(trained, before, strict=True):
            artifact.record_path.write_bytes(content)
    model = onnx.load(tmp_path / "model.onnx")
    half = {onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT16}
    assert not half & {tensor.data_type for tensor in model.graph.initializer}
    assert json.loads((tmp_path / "model.json").read_text())["largest_difference"] <= 1e-4


def test_what_is_not_installed_is_told_before_the_work_and_an_earlier_export_stays(survey, tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.json").write_text("{}")
    monkeypatch.setattr("pipeline.nn.exporting.find_spec", lambda name: None)
    for folder in ("new", "old"):
        with pytest.raises(UserError, match="needs tf2onnx and onnxruntime"):
            export.main(["--ensemble", str(survey.ensemble), "--to", str(tmp_path / folder)])
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "model.json").read_text() == "{}"
