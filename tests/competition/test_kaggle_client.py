"""Kaggle's real client against a small server on loopback: downloads, submissions, and all that may be refused."""

import fcntl
import io
import logging
import tempfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.builders import finished_plan, kaggle_server, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

with pytest.MonkeyPatch.context() as patch:  # on import it makes its folder in the home, unless told of one that exists
    patch.setenv("KAGGLE_CONFIG_DIR", tempfile.gettempdir())
    pytest.importorskip("kaggle", reason="Kaggle's client is an extra")

from pipeline.commands import download
from pipeline.competition import uploads
from pipeline.errors import UserError
from pipeline.report import leaderboard
from pipeline.stages import report, submit
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions

NAMES = ("training_solutions_rev1", "images_training_rev1", "images_test_rev1", "all_zeros_benchmark")


CHUNK = 1 << 20  # bytes that the client takes at once
CUT = CHUNK + 120_000


def archive(name: str, size: int = 3 * CHUNK // 2) -> bytes:
    """A zip of one incompressible member."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(f"{name}.bin", np.random.default_rng(len(name)).bytes(size))
    return made.getvalue()


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    return {f"{name}.zip": archive(name) for name in (*NAMES, "all_ones_benchmark", "central_pixel_benchmark")}


@pytest.fixture
def kaggle(tmp_path, monkeypatch, archives):
    """The server, and a home folder whose token it knows."""
    from kagglesdk import kaggle_env

    made = kaggle_server.Kaggle(files=archives)
    server = kaggle_server.serve(made)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, made.address)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home" / ".kaggle"))
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir(parents=True)
    (folder / "access_token").write_text(kaggle_server.TOKEN)
    monkeypatch.setattr(uploads, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client's pauses before it tries again
    yield made
    server.shutdown()
    server.server_close()


def fetch(tmp_path) -> None:
    download.main(["--to", str(tmp_path / "input")])


def test_the_files_come_whole_once_and_nothing_more(kaggle, tmp_path, archives, caplog):
    caplog.set_level(logging.INFO)
    fetch(tmp_path)
    assert "images_test_rev1.zip is whole: 1 file" in caplog.text
    found = {path.name: path.read_bytes() for path in (tmp_path / "input").iterdir()}
    assert found == {f"{name}.zip": archives[f"{name}.zip"] for name in NAMES}
    asked = kaggle.asked.copy()
    fetch(tmp_path)  # all is there: Kaggle is not even asked
    assert kaggle.asked == asked


def test_a_broken_download_goes_on_where_it_was(kaggle, tmp_path, archives):
    kaggle.cut["images_training_rev1.zip"] = CUT
    fetch(tmp_path)
    assert kaggle.ranges == [f"images_training_rev1.zip bytes={CHUNK}-"]
    assert (tmp_path / "input" / "images_training_rev1.zip").read_bytes() == archives["images_training_rev1.zip"]


def test_a_later_command_goes_on_where_an_earlier_one_was_interrupted(kaggle, tmp_path, archives, monkeypatch):
    kaggle.cut["images_training_rev1.zip"] = CUT

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", interrupted)  # the client waits before it tries again
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path)
    assert not (tmp_path / "input" / "images_training_rev1.zip").exists(), "what is not whole has another place"
    fetch(tmp_path)
    assert kaggle.ranges == [f"images_training_rev1.zip bytes={CHUNK}-"]
    assert kaggle.asked["GET training_solutions_rev1.zip"] == 1, "what has come stays"
    assert (tmp_path / "input" / "images_training_rev1.zip").read_bytes() == archives["images_training_rev1.zip"]


def damaged(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


NOT_WHOLE = {
    "damaged within": ({"images_test_rev1.zip": damaged}, {}, "holds a damaged"),
    "no zip": ({"images_test_rev1.zip": lambda data: b"<html>sorry</html>"}, {}, "is no whole zip file"),
    "another size than listed": ({}, {"images_test_rev1.zip": 77}, "Kaggle lists 77"),
}


@pytest.mark.parametrize(("change", "sizes", "told"), NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_what_is_not_whole_is_thrown_away_and_told(kaggle, tmp_path, archives, change, sizes, told):
    kaggle.files = archives | {name: made(archives[name]) for name, made in change.items()}
    kaggle.sizes = sizes
    with pytest.raises(UserError, match=told):
        fetch(tmp_path)
    assert not (tmp_path / "input" / "images_test_rev1.zip").exists()
    kaggle.files, kaggle.sizes = archives, {}
    fetch(tmp_path)
    assert (tmp_path / "input" / "images_test_rev1.zip").read_bytes() == archives["images_test_rev1.zip"]


REFUSALS = {
    "the rules": ({"DownloadDataFile": (403, "You must accept this competition's rules", {})}, "accept the .*rules"),
    "another name": ({"ListDataFiles": (404, "Not found", {})}, "does not know this name"),
    "rate": ({"ListDataFiles": (429, "Too many requests", {"Retry-After": "30"})}, "wait for 30 seconds"),
    "credentials": ({"ListDataFiles": (401, "Unauthenticated", {})}, "rejects these credentials"),
    "trouble": ({"ListDataFiles": (503, "Unavailable", {})}, "try again later"),
    "else": ({"ListDataFiles": (400, "The\nmoon is\tfull", {})}, "The moon is full"),
}


@pytest.mark.parametrize(("refuse", "told"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_are_told_with_what_mends_them(kaggle, tmp_path, refuse, told):
    kaggle.refuse = refuse
    with pytest.raises(UserError, match=told):
        fetch(tmp_path)


def no_file(home) -> None:
    (home / ".kaggle" / "access_token").unlink()


def wrong_token(home) -> None:
    (home / ".kaggle" / "access_token").write_text("KGAT_another")


def no_json(home) -> None:
    no_file(home)
    (home / ".kaggle" / "kaggle.json").write_text("{}")


CREDENTIALS = {
    "none": (no_file, "nobody is signed in"),
    "not taken": (wrong_token, "rejects the token of ~/.kaggle/access_token"),
    "kaggle.json without a key": (no_json, "holds no username and key"),
}


@pytest.mark.parametrize(("spoil", "told"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials_that_do_not_do(kaggle, tmp_path, spoil, told, capfd):
    spoil(tmp_path / "home")
    with pytest.raises(UserError, match=told):
        fetch(tmp_path)
    assert "KGAT" not in "".join(capfd.readouterr())


def test_the_token_of_the_environment_is_taken(kaggle, tmp_path, monkeypatch):
    no_file(tmp_path / "home")
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle_server.TOKEN)
    fetch(tmp_path)
    assert len(list((tmp_path / "input").iterdir())) == 4


def test_offline(kaggle, tmp_path, monkeypatch):
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        fetch(tmp_path)


def test_a_competition_without_the_files(kaggle, tmp_path):
    kaggle.files = {"train.csv": b"a"}
    with pytest.raises(UserError, match="Kaggle lists no file for labels, train, test, sample"):
        fetch(tmp_path)


def test_without_the_client_the_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -r requirements-extra.txt"):
        fetch(tmp_path)


@pytest.fixture
def finished(tmp_path):
    """A finished plan and its submissions, and the command that uploads the better one."""
    path, plan, store = finished_plan.make(tmp_path)
    store.inputs().write(store.inputs().record() | {"folder": "/competition"})
    flags = ["--plan", str(path), "--output", str(tmp_path / "output")]
    submit.main(flags)
    return SimpleNamespace(
        plan=plan, store=store, flags=flags, upload=lambda *more: submit.main([*flags, "--upload", *more])
    )


def best_of(finished) -> str:
    return min((e.name for e in finished.plan.ensembles), key=lambda n: finished.store.ensemble(n).record()["rmse"])


def test_a_submission_is_sent_confirmed_scored_and_shown(kaggle, finished, caplog, capfd):
    caplog.set_level(logging.INFO)
    kaggle.pending = 5
    finished.upload("--yes")
    name = best_of(finished)
    assert kaggle.blobs["blob"] == finished.store.submission(name).files[0].read_bytes()
    (row,) = uploads.load(finished.store).to_dict("records")
    assert (row["ensemble"], row["status"], row["public"], row["private"]) == (name, "complete", 0.07312, 0.07345)
    record = finished.store.ensemble(name).record()
    assert row["message"].startswith(f"made-up/{name}: vgg16 + efficientnetb0")
    assert f"out-of-fold RMSE {record['rmse']:.5f}" in row["message"]
    report.main(finished.flags)
    board = leaderboard.read(finished.store.report().files[0]).set_index("name")
    assert tuple(board.loc[name, ["kaggle_public", "kaggle_private"]]) == (0.07312, 0.07345)
    assert board["kaggle_public"].count() == 1
    page = finished.store.report().files[2].read_text()
    assert "Kaggle private" in page
    assert (finished.store.root / "report" / "kaggle.svg").is_file()
    said = "".join(capfd.readouterr()) + caplog.text + page + finished.store.uploads().files[0].read_text()
    assert kaggle_server.TOKEN not in said
    assert "secret" not in said


def test_a_part_of_the_galaxies_is_not_sent(kaggle, finished):
    record = finished.store.inputs().required()
    finished.store.inputs().write(
        record | {"spec": {"galaxies": 0.5}, "n_train": 45, "n_test": 9} | {"of": {"train": 90, "test": 20}}
    )
    with pytest.raises(UserError, match=r"of all galaxies alone. A quick try, by galaxies = 0.5 .* 45 of 90 training"):
        finished.upload("--yes")
    assert not kaggle.asked["CreateSubmission"]


def test_the_score_of_a_run_sent_alone_stands_beside_the_ensemble_of_that_run(kaggle, finished):
    blended = finished.store.ensemble("final")
    frames = {path.name: load_fractions(path, GZ2) for path in blended.files}
    facts = {"method": "convex", "weights": {"vgg16": 1.0}, "scores": {}, "rmse": 0.1}
    stage_outputs.write(finished.store.ensemble("vgg16"), frames, **facts)
    finished.upload("--yes", "--run", "vgg16")
    report.main(finished.flags)
    board = leaderboard.read(finished.store.report().files[0]).set_index(["name", "kind"])
    assert tuple(board.loc[("vgg16", "ensemble"), ["kaggle_public", "kaggle_private"]]) == (0.07312, 0.07345)
    assert board["kaggle_public"].count() == 1
    assert "Kaggle private" in finished.store.report().files[2].read_text()


def test_the_same_file_is_not_sent_twice_whatever_is_forgotten_here(kaggle, finished):
    finished.upload("--yes")
    finished.upload("--yes")
    assert kaggle.asked["CreateSubmission"] == 1
    for path in (*finished.store.uploads().files, finished.store.uploads().record_path):
        path.unlink()
    finished.upload("--yes")  # Kaggle's list tells
    assert kaggle.asked["CreateSubmission"] == 1
    assert uploads.load(finished.store)["public"].tolist() == [0.07312]


def test_a_score_that_comes_late_is_asked_for_by_the_same_command(kaggle, finished, caplog):
    kaggle.pending = 10**6
    finished.upload("--yes", "--wait", "0.001")
    assert "no score yet" in caplog.text
    assert uploads.load(finished.store)["status"].tolist() == ["pending"]
    kaggle.pending = 0
    finished.upload("--yes")
    assert uploads.load(finished.store)["status"].tolist() == ["complete"]
    assert kaggle.asked["CreateSubmission"] == 1


def test_an_own_message_and_an_own_choice(kaggle, finished):
    other = next(e.name for e in finished.plan.ensembles if e.name != best_of(finished))
    finished.upload("--yes", "-m", "with more rotations", "--run", other)
    assert kaggle.submissions[0]["description"].startswith("with more rotations #")
    assert uploads.load(finished.store)["ensemble"].tolist() == [other]


def test_what_the_client_calls_a_success_is_looked_up(kaggle, finished, monkeypatch):
    kaggle.swallow = True
    monkeypatch.setattr(uploads, "CONFIRM_TIMEOUT", 0.05)
    with pytest.raises(UserError, match=r"does not list the submission.*Successfully submitted"):
        finished.upload("--yes")
    assert uploads.load(finished.store).empty


def test_a_connection_that_breaks_while_it_is_sent(kaggle, finished):
    kaggle.drop_put = True
    with pytest.raises(UserError, match="Could not submit"):
        finished.upload("--yes")
    kaggle.drop_put = False
    finished.upload("--yes")
    assert len(kaggle.submissions) == 1


def test_what_kaggle_cannot_score_is_told_and_recorded(kaggle, finished):
    kaggle.fails = "ParameterValueError: a column is missing"
    with pytest.raises(UserError, match="a column is missing"):
        finished.upload("--yes")
    assert uploads.load(finished.store)["status"].tolist() == ["error"]


def test_nothing_is_used_up_without_a_yes(kaggle, finished, monkeypatch):
    with pytest.raises(UserError, match=r"3 that are left today.*add --yes"):
        finished.upload()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(UserError, match="nothing was uploaded"):
        finished.upload()
    assert not kaggle.asked["StartSubmissionUpload"]
    monkeypatch.setattr("builtins.input", lambda question: "y")
    finished.upload()
    assert kaggle.asked["CreateSubmission"] == 1


@pytest.mark.parametrize("status", [403, 429])
def test_refused_uploads(kaggle, finished, status):
    kaggle.refuse = {"StartSubmissionUpload": (status, "no", {})}
    with pytest.raises(UserError, match=str(status)):
        finished.upload("--yes")
    assert uploads.load(finished.store).empty


def test_drawn_galaxies_are_not_sent(kaggle, finished):
    finished.store.inputs().write(finished.store.inputs().record() | {"folder": "sky"})
    with pytest.raises(UserError, match="are synthetic, Kaggle does not know them"):
        finished.upload("--yes")
    assert not kaggle.asked


def test_two_processes_do_not_send_at_once(kaggle, finished):
    lock = finished.store.uploads().record_path.with_name(".sending.lock")
    with open(lock, "a+", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="worked on by another process: wait until it has ended"):
            finished.upload("--yes")
    assert not kaggle.submissions
    finished.upload("--yes")
    assert len(kaggle.submissions) == 1


def test_scores_belong_to_the_file_that_was_sent(kaggle, finished):
    finished.upload("--yes")
    name = best_of(finished)
    path = finished.store.submission(name).files[0]
    frame = pd.read_csv(path)
    frame.iloc[0, 1] = 0.5
    frame.to_csv(path, index=False)
    with pytest.raises(UserError, match=r"--force"):
        finished.upload("--yes")
    artifact = finished.store.submission(name)
    record = artifact.record()
    artifact.finish(record["spec"], record["made_from"])
    assert all(value != value for value in uploads.current_scores(finished.store, name)), "another file has no score"


def test_an_ensemble_that_looks_like_a_number_keeps_its_name(tmp_path):
    upload = uploads.Upload("007", "12e45", 0.1, "NA", 3, "", "pending", float("nan"), 0.5, "")
    uploads.record_upload(Store(tmp_path), upload)
    (row,) = uploads.load(Store(tmp_path)).to_dict("records")
    assert (row["ensemble"], row["sha256"], row["message"], row["ref"]) == ("007", "12e45", "NA", 3)
