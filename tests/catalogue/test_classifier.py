"""Five lines of Python give what the command `classify` does."""

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.catalogue import columns, pixels
from pipeline.catalogue.classifier import Classifier
from pipeline.commands.serve.galaxy_reader import Reader
from pipeline.errors import UserError
from pipeline.models import classifier as models
from pipeline.models.training_galaxies import UNLIKE
from pipeline.store.fractions import load_fractions
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

COLUMNS = list(GZ2.columns)


@pytest.fixture(scope="module")
def classifier(survey) -> Classifier:
    return Classifier.load(str(survey.ensemble))


@pytest.fixture(scope="module")
def folder(survey, tmp_path_factory):
    images = {f"{i}.jpg": survey.images[i] for i in survey.test_ids}
    return tiny.folder_of(tmp_path_factory.mktemp("images") / "test", images)


@pytest.fixture(scope="module")
def expected(survey) -> pd.DataFrame:
    return load_fractions(survey.store.ensemble("final").files[1], GZ2).sort_index()


def test_a_folder_a_list_of_files_and_their_contents_are_answered_as_by_the_stages(
    survey, classifier, folder, expected
):
    files = sorted(folder.iterdir())
    given = (folder, files, [str(path) for path in files], [path.read_bytes() for path in files])
    for images, ids in zip(given, (*[[str(i) for i in expected.index]] * 3, list(range(12))), strict=True):
        frame = classifier.predict(images)
        assert frame["id"].tolist() == ids
        np.testing.assert_allclose(frame[COLUMNS], expected, atol=1e-5)
    assert list(frame) == [field.name for field in columns.schema(GZ2, "int64", ())]


def test_pixels_are_answered_as_files_of_them(survey, classifier, folder, expected):
    some = [pixels.decode(survey.images[i])[0] for i in survey.test_ids[:3]]
    frame = classifier.predict(np.stack(some), ids=survey.test_ids[:3])
    assert frame["id"].tolist() == list(survey.test_ids[:3])
    np.testing.assert_allclose(frame[COLUMNS], expected.loc[list(survey.test_ids[:3])], atol=5e-3)  # decoded in full
    red = some[0] * np.array([1, 0, 0], np.uint8)
    png = cv2.imencode(".png", red[..., ::-1])[1].tobytes()
    both = classifier.predict([red, png])[COLUMNS].to_numpy()
    assert (both[0] == both[1]).all(), "the order of colours"


def test_what_cannot_be_read_is_a_row_with_a_reason(survey, classifier, tmp_path):
    frame = classifier.predict([survey.images[survey.test_ids[0]], b"hello", tmp_path / "none.jpg"])
    assert frame["reason"].map(bool).tolist() == [False, True, True]
    assert frame.loc[1:, COLUMNS].isna().all(axis=None)


def test_the_frame_says_what_is_to_be_known_of_the_ensemble(survey, classifier, caplog):
    frame = classifier.predict([survey.images[survey.test_ids[0]]])
    assert frame.attrs["ensemble"] == "survey/ensembles/final"
    assert frame.attrs["colvers"] == columns.VERSION
    assert any("RANDOM weights" in sentence for sentence in frame.attrs["caveats"])
    Classifier.load(survey.ensemble, views=1)
    assert "CAVEAT: Started from RANDOM weights" in caplog.text


WRONG = {
    "floats": ([np.zeros((99, 99, 3))], None, r"image 0: .* received float64 \(99, 99, 3\)"),
    "grey": (np.zeros((2, 99, 99), np.uint8), None, r"received uint8 \(99, 99\)"),
    "numbers": ([b"x", 7], None, "image 1: .* received int"),
    "nothing": ([], None, "at least one image, not an empty list"),
    "too few ids": ([b"x", b"y"], [1], "as many ids as images, not 1 for 2"),
    "no place": ("nowhere", None, "nowhere"),
}


@pytest.mark.parametrize(("images", "ids", "said"), WRONG.values(), ids=WRONG)
def test_what_are_no_images_is_told(classifier, images, ids, said):
    with pytest.raises(UserError, match=said):
        classifier.predict(images, ids)


def test_an_unknown_view_set_or_ensemble_is_told(survey, tmp_path):
    with pytest.raises(UserError, match="expected a view set"):
        Classifier.load(survey.ensemble, views=3)
    with pytest.raises(UserError, match="expected an ensemble such as"):
        Classifier.load(tmp_path)


def test_the_page_the_table_and_the_frame_tell_alike_what_looks_unlike_the_galaxies_trained_on(survey, classifier):
    y, x = np.mgrid[:424, :424]
    checks = tiny.jpeg((200 * ((x // 30 + y // 30) % 2)).astype(np.uint8))
    images = [checks, *(survey.images[i] for i in survey.test_ids)]
    frame, reader = classifier.predict(images), Reader(survey.ensemble)
    assert frame["caveat"].tolist() == [reader.read(image)["caveat"] for image in images]
    assert UNLIKE in frame["caveat"][0]
    assert frame.attrs["unlike"] == sum(UNLIKE in caveat for caveat in frame["caveat"])


def test_galaxies_are_compared_by_the_first_network_that_has_seen_more_than_these(survey, monkeypatch):
    crops = models.Classifier(survey.ensemble).crops
    images = {crop: np.zeros((2, crop.size, crop.size, 3), np.uint8) for crop in crops}
    for image in images.values():
        image[1] = np.arange(image[1].size, dtype=np.uint64).reshape(image[1].shape) % 256
    original, seen = models.trained_member, []
    for pretrained in (None, "fine"):

        def trained(store, schema, name, *rest, pretrained=pretrained):
            return original(store, schema, name, *rest)._replace(random=name != pretrained)

        monkeypatch.setattr(models, "trained_member", trained)
        made = models.Classifier(survey.ensemble)
        member = made.members[made.compares]
        assert member.run.name == (pretrained or made.members[0].run.name)
        seen.append(made.answer(images).features)
        np.testing.assert_allclose(made.features(images[member.crop]), seen[-1], atol=1e-4)
    assert seen[0].shape != seen[1].shape or np.abs(seen[0] - seen[1]).max() > 1e-3
