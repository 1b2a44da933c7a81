"""Features of a catalogue, and what compares them: as the stages make them, resumed, refused where they do not fit."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue import embedded, embedding, galaxies, shards
from pipeline.catalogue.embedded import Embedded
from pipeline.commands import embed, similar, unusual
from pipeline.errors import UserError
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2


@pytest.fixture(scope="module")
def folder(survey, tmp_path_factory) -> Path:
    """The training images in a folder, of which two cannot be read."""
    members = {f"{i}.jpg": survey.images[i] for i in survey.images if i < 200_000}
    members |= {"broken.jpg": members["100001.jpg"][:3000], "empty.jpg": b""}
    return tiny.folder_of(tmp_path_factory.mktemp("images") / "train", members)


@pytest.fixture(scope="module")
def run_of(survey):
    return lambda name: survey.store.trained(name, 0).record_path.parents[1]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(galaxies, "ROWS", 9)


@pytest.fixture(scope="module")
def features(folder, run_of, tmp_path_factory) -> Path:
    """Those of the run of a frozen backbone, in float32."""
    to = tmp_path_factory.mktemp("features") / "all"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(galaxies, "ROWS", 9)
        embed.main([str(folder), "--run", str(run_of("head")), "--to", str(to), "--float32"])
    return to


@pytest.fixture
def own(features, tmp_path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(features, tmp_path / "own")


def values(folder: Path) -> np.ndarray:
    """(n, d) with NaN where there are none, in the order of the table."""
    frame = pd.read_parquet(folder)
    return np.stack([np.full(len(frame["features"][0]), np.nan) if v is None else v for v in frame["features"]])


def test_features_are_those_that_the_stages_made(survey, features):
    frame, expected = pd.read_parquet(features).set_index("id"), survey.store.load_features("head")
    _, ids = survey.store.load_crops("half", "train")
    np.testing.assert_allclose(np.stack(frame.loc[map(str, ids), "features"]), expected, rtol=1e-4, atol=1e-5)
    assert list(frame) == ["image", "artifact", "features", "reason", "caveat"]
    kind = pq.read_schema(features / "part-00000.parquet").field("features").type
    assert str(kind) == f"fixed_size_list<element: float>[{expected.shape[1]}]"


def test_what_could_not_be_read_has_a_reason_and_no_features(features):
    frame = pd.read_parquet(features).set_index("id")
    unread = frame[frame["reason"] != ""]
    assert sorted(unread.index) == ["broken", "empty"]
    assert unread["features"].isna().all()
    assert unread["artifact"].isna().all()
    assert frame.drop(["broken", "empty"])["artifact"].between(0, 1).all()


def test_half_precision_rounds_and_takes_half_the_room(folder, features, run_of, tmp_path):
    embed.main([str(folder), "--run", str(run_of("head")), "--to", str(tmp_path / "half")])
    np.testing.assert_allclose(values(tmp_path / "half"), values(features), rtol=1e-3, atol=1e-4)
    sizes = [sum(part.stat().st_size for part in to.glob("*.parquet")) for to in (tmp_path / "half", features)]
    assert sizes[0] < 0.7 * sizes[1]


def test_principal_components_are_the_matrix_beside_them_times_the_features(folder, features, run_of, tmp_path):
    flags = [str(folder), "--run", str(run_of("head")), "--to", str(tmp_path / "few"), "--float32"]
    embed.main([*flags, "--pca", "5"])
    with np.load(tmp_path / "few" / "_pca.npz") as made:
        np.testing.assert_allclose(made["components"] @ made["components"].T, np.eye(5), atol=1e-4)
        assert (np.diff(made["explained"]) <= 0).all()
        expected = ((values(features) - made["centre"]) / made["width"]) @ made["components"].T
    np.testing.assert_allclose(values(tmp_path / "few"), expected, rtol=1e-3, atol=1e-2)
    embed.main([*flags, "--pca", "5"])  # of which nothing is made again
    with pytest.raises(UserError, match="other --pca"):
        embed.main([*flags, "--pca", "4"])
    with pytest.raises(UserError, match=r"something else .another --pca"):
        embed.main(flags)
    found = Embedded(tmp_path / "few")
    image = folder / "100004.jpg"
    of_image, of_id = similar.of_images(found, [image], None)[0], similar.of_ids(found, ["100004"])[0]
    np.testing.assert_allclose(of_image.direction, of_id.direction, atol=1e-3)


@pytest.mark.parametrize("k", ["30", "100000"])
def test_more_components_than_there_can_be_are_refused_and_nothing_is_written(folder, run_of, tmp_path, k):
    with pytest.raises(UserError, match=r"choose at most 29$"):
        embed.main([str(folder), "--run", str(run_of("head")), "--to", str(tmp_path / "to"), "--pca", k])
    assert not list((tmp_path / "to").glob("*.parquet"))


def test_what_is_killed_in_the_middle_is_no_folder_of_features_and_resumes(folder, run_of, tmp_path, monkeypatch):
    flags, calls = [str(folder), "--run", str(run_of("head")), "--to", str(tmp_path / "to"), "--float32"], []
    call = shards.Worker.__call__

    def until_killed(worker, shard):
        calls.append(len(shard.galaxies))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return call(worker, shard)

    monkeypatch.setattr(shards.Worker, "__call__", until_killed)
    with pytest.raises(KeyboardInterrupt):
        embed.main(flags)
    with pytest.raises(UserError, match=r"not complete.* the same `embed` command resumes"):
        Embedded(tmp_path / "to")
    embed.main(flags)
    assert calls == [9, 9, 9, 9, 5]  # two, one that was killed and is made again, one more
    assert len(Embedded(tmp_path / "to")) == 32
    embed.main(flags)
    assert len(calls) == 5


def test_an_image_that_comes_later_gets_its_features(folder, run_of, tmp_path):
    images = shutil.copytree(folder, tmp_path / "images")
    flags = [str(images), "--run", str(run_of("head")), "--to", str(tmp_path / "to")]
    embed.main(flags)
    shutil.copy(images / "100001.jpg", images / "broken.jpg")
    embed.main(flags)
    made = Embedded(tmp_path / "to")
    rows = made.rows_of(["broken", "100001"])
    np.testing.assert_array_equal(*made.features(rows))


def test_other_features_are_not_mixed_with_those_that_are_there(folder, features, run_of):

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in features.rglob("*") if path.is_file()}

    before = files()
    for more, said in ((["--run", str(run_of("fine"))], "another run"), (["--fold", "1"], "another --fold"),
                       (["--views", "1"], "other --views")):  # fmt: skip
        with pytest.raises(UserError, match=f"something else .*{said}"):
            embed.main([str(folder), "--run", str(run_of("head")), "--to", str(features), "--float32", *more])
    assert files() == before


BAD_RUNS = {
    "runs/head": r"fold 7, not .*: it has fold 0, 1$",
    "runs/headd": "those that exist: .*runs/head",
    ".": "runs/fine",
}


@pytest.mark.parametrize(("name", "said"), BAD_RUNS.items(), ids=BAD_RUNS)
def test_where_there_is_no_run_those_that_exist_are_listed(survey, folder, tmp_path, name, said):
    fold = ["--fold", "7"] if "it has" in said else []
    with pytest.raises(UserError, match=said):
        embed.main([str(folder), "--run", str(survey.store.root / name), "--to", str(tmp_path / "to"), *fold])


def test_features_go_into_a_folder_and_a_catalogue_has_galaxies(folder, run_of, tmp_path):
    run = ["--run", str(run_of("head")), "--to"]
    with pytest.raises(UserError, match="as a folder of Parquet files"):
        embed.main([str(folder), *run, str(tmp_path / "a.parquet")])
    (tmp_path / "none.csv").write_text("id,image\n")
    with pytest.raises(UserError, match=r"none.csv holds no galaxies"):
        embed.main([str(tmp_path / "none.csv"), *run, str(tmp_path / "to")])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        embed.main([str(tmp_path / "nothing"), *run, str(tmp_path / "to")])


@pytest.mark.parametrize("first", [2**63 + 1, 9_007_199_254_740_993, -5], ids=["uint64", "beyond float64", "negative"])
def test_integers_of_64_bits_stay_what_they_are(folder, run_of, tmp_path, first):
    ids = [first + i for i in range(12)]
    frame = pd.DataFrame({"id": ids, "image": [f"{100_001 + i}.jpg" for i in range(12)], "ra": 1.5, "dec": -2.0})
    frame.to_parquet(tmp_path / "a.parquet")
    flags = ["--images", str(folder), "--run", str(run_of("head")), "--views", "1"]
    embed.main([str(tmp_path / "a.parquet"), *flags, "--to", str(tmp_path / "to")])
    save = tmp_path / "found"
    similar.main(["--to", str(tmp_path / "to"), f"--id={ids[1]}", "-n", "99", "--save", str(save)])
    found = pd.read_csv(f"{save}.csv", dtype={"id": str})
    assert sorted(found["id"]) == sorted(str(i) for i in ids if i != ids[1])
    assert (found["ra"] == 1.5).all()
    with pytest.raises(UserError, match="are integers"):
        similar.main(["--to", str(tmp_path / "to"), "--id", "M51"])


def by_hand(features: Path) -> tuple[list[str], np.ndarray]:
    """(ids, cosines (n, n) of standardised features) of the galaxies that have some."""
    made, ids = values(features).astype(np.float64), pd.read_parquet(features, columns=["id"])["id"]
    there = np.isfinite(made).all(axis=1)
    made = made[there]
    standard = (made - made.mean(axis=0)) / np.maximum(made.std(axis=0), 1e-3)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    return ids[there].tolist(), standard @ standard.T


def test_similar_galaxies_are_those_by_brute_force_for_an_id_and_for_its_image(features, folder, tmp_path):
    save = tmp_path / "found"
    flags = ["--to", str(features), "--id", "100005", "--image", str(folder / "100005.jpg"), "-n", "7"]
    similar.main([*flags, "--save", str(save)])
    found = pd.read_csv(f"{save}.csv", dtype={"id": str, "query": str})
    ids, cosines = by_hand(features)
    mine = cosines[ids.index("100005")]
    order = [i for i in np.argsort(-mine) if ids[i] != "100005"][:7]
    of_id, of_image = (found[found["query"] == name] for name in ("100005", "100005.jpg"))
    assert of_id["rank"].tolist() == list(range(1, 8))
    assert of_id["id"].tolist() == [ids[i] for i in order]
    np.testing.assert_allclose(of_id["similarity"], mine[order], atol=1e-4)
    assert of_image["id"].tolist() == ["100005", *of_id["id"][:6]]
    assert of_image["similarity"].iloc[0] == pytest.approx(1, abs=1e-4)


def test_the_sheet_is_one_page_with_every_picture_in_it(features, folder, tmp_path):
    similar.main(["--to", str(features), "--id", "100005", "--id", "100009", "-n", "4", "--save", str(tmp_path / "x")])
    page = (tmp_path / "x.html").read_text()
    assert len(re.findall(r'<img src="data:image/webp;base64,[^"]{80}', page)) == 2 * (1 + 4)
    assert not re.search(r'(src|href)="(?!data:)', page)
    similar.main(["--to", str(features), "--id", "100005"])  # beside the features, where it harms nobody
    assert (features / "_similar" / "100005.html").exists()
    similar.main(["--to", str(features), "--image", str(folder / "100007.jpg")])
    assert (features / "_similar" / "100007-image.csv").exists()
    assert len(pd.read_parquet(features)) == 32
    Embedded(features)


def test_pictures_of_images_that_are_gone_are_grey_and_the_table_is_there(own, tmp_path):
    record = embedded.record_of(own)
    record.write(record.required() | {"images": str(tmp_path / "gone")})
    similar.main(["--to", str(own), "--id", "100005", "-n", "3", "--save", str(tmp_path / "x")])
    assert len(pd.read_csv(tmp_path / "x.csv")) == 3


def test_what_cannot_be_looked_for_is_told(features, folder, run_of, tmp_path):
    to = ["--to", str(features)]
    (tmp_path / "text.jpg").write_text("no image")
    for flags, said in (
        (["--id", "M51"], "none of the 32 galaxies .* such as 100001, 100002"),
        (["--id", "broken"], "galaxy broken has no features: its image is cut short|galaxy broken has no features"),
        (["--image", str(tmp_path / "text.jpg")], "text.jpg is no JPEG, PNG or FITS image"),
        (["--image", str(tmp_path / "none.jpg")], "none.jpg cannot be read"),
        (["--image", str(folder / "100005.jpg"), "--run", str(run_of("fine"))], "is not the network"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            similar.main([*to, *flags])
    for where, said in ((tmp_path, "holds no features"), (tmp_path / "none", "no such folder")):
        with pytest.raises(UserError, match=said):
            similar.main(["--to", str(where), "--id", "1"])
    with pytest.raises(SystemExit):
        similar.main(to)


def test_parts_that_are_not_those_that_were_completed_are_told(own):
    part = own / "_records" / "part-00001.json"
    part.unlink()
    with pytest.raises(UserError, match="was changed after it was completed"):
        Embedded(own)


def test_a_damaged_part_is_told(own):
    path = own / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="is not what was written"):
        similar.main(["--to", str(own), "--id", "100005"])


def test_features_that_are_not_finite_or_too_large_are_refused():
    schema = embedding.layout((), 2, "float16")(GZ2, "int64", (), ())
    frame = pd.DataFrame({"id": [1, 2], "image": ["a", "b"], "artifact": 0.1, "reason": "", "caveat": ""})
    with pytest.raises(UserError, match="add --float32"):
        embedding.to_arrow(frame, np.array([[1, 2], [3, 1e5]], np.float32), np.array([True, True]), schema)
    unread = embedding.to_arrow(frame, np.array([[1, 2], [3, 1e5]], np.float32), np.array([True, False]), schema)
    assert embedded.values_of(unread).tolist() == [[1, 2]]
    made = pa.array([np.float32([1, np.nan]), None], pa.list_(pa.float32(), 2))
    with pytest.raises(UserError, match="not finite"):
        embedded.values_of(pa.table({"features": made}))


def test_the_most_unusual_galaxy_is_the_one_that_is_planted(survey, folder, run_of, tmp_path):
    images = shutil.copytree(folder, tmp_path / "images")
    noise = np.random.default_rng(0).integers(0, 255, (424, 424, 3), np.uint8)
    (images / "strange.jpg").write_bytes(tiny.jpeg(noise))
    flags = ["--run", str(run_of("head")), "--to", str(tmp_path / "to"), "--views", "1"]
    embed.main([str(images), *flags])
    unusual.main(["--to", str(tmp_path / "to"), "-n", "40", "--artifact-above", "1"])
    found = pd.read_csv(tmp_path / "to" / "_unusual" / "unusual.csv")
    assert len(found) == 31
    assert found["id"][0] == "strange"
    assert found["distance"].is_monotonic_decreasing
    assert found["isolation"].nunique() > 20
    answers = pd.DataFrame({"id": ["strange", "100003"], "Class1.3": np.float32([0.9, 0.1])})
    answers.to_parquet(tmp_path / "answers.parquet")
    unusual.main(["--to", str(tmp_path / "to"), "--answers", str(tmp_path / "answers.parquet"), "-n", "5"])
    found = pd.read_csv(tmp_path / "to" / "_unusual" / "unusual.csv")
    assert found["kind"].tolist() == ["galaxy"] * 5 + ["artifact"]
    assert found["id"].tolist()[-1] == "strange"
    assert "strange" in (tmp_path / "to" / "_unusual" / "unusual.html").read_text().partition("Stars and artifacts")[2]
    for content, said in (({"id": ["x"], "Class1.3": [0.5]}, "none of the galaxies"), ({"id": ["x"]}, "no answer for")):
        pd.DataFrame(content).to_parquet(tmp_path / "other.parquet")
        with pytest.raises(UserError, match=said):
            unusual.main(["--to", str(tmp_path / "to"), "--answers", str(tmp_path / "other.parquet")])
    (tmp_path / "text.csv").write_text("id\n1\n")
    with pytest.raises(UserError, match="expected a table of `classify` in Parquet"):
        unusual.main(["--to", str(tmp_path / "to"), "--answers", str(tmp_path / "text.csv")])


def test_too_few_galaxies_cannot_be_unusual(survey, run_of, tmp_path):
    few = tiny.folder_of(tmp_path / "few", {f"{i}.jpg": survey.images[i] for i in survey.test_ids[:4]})
    embed.main([str(few), "--run", str(run_of("head")), "--to", str(tmp_path / "to"), "--views", "1"])
    with pytest.raises(UserError, match="features of 4 galaxies"):
        unusual.main(["--to", str(tmp_path / "to")])
