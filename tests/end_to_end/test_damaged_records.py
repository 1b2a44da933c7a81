"""What lies in an output is doubted: records that are none, files that changed; told with what mends it, and mended."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.commands import status
from pipeline.errors import Damaged, UserError
from pipeline.models.classifier import Classifier
from pipeline.stages import ensemble, folds, inputs
from pipeline.store import dependencies, digests, sealed_json
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact, save_json
from tests.builders import fabricated

WRITTEN_TODAY = {  # as the versions before the seal wrote it
    "spec": {"folds": 2, "seed": 1},
    "made_from": {"inputs": "ab" * 32},
    "sizes": [1, 1],
    "digest": "cd" * 32,
    "files": {"folds.csv": {"bytes": 2, "sha256": "6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918"}},
    "made": {"at": "2026-11-25T21:00:00Z", "code": "deb1506", "python": "3.11.2", "libraries": {}, "machine": "x"},
}
NO_RECORDS = {
    "null": b"null",
    "list": b"[1, 2]",
    "number": b"7",
    "text": b'"spec"',
    "deep": b'{"spec": ' * 5000 + b"{}" + b"}" * 5000,
    "deep list": b"[" * 200_000,
    "key missing": json.dumps({k: v for k, v in WRITTEN_TODAY.items() if k != "files"}).encode(),
    "wrong type": json.dumps(WRITTEN_TODAY | {"files": [1]}).encode(),
    "wrong entry": json.dumps(WRITTEN_TODAY | {"files": {"folds.csv": {"bytes": "2"}}}).encode(),
    "wrong source": json.dumps(WRITTEN_TODAY | {"made_from": {"inputs": 3}}).encode(),
    "wrong made": json.dumps(WRITTEN_TODAY | {"made": []}).encode(),
    "empty": b"",
    "zeros": bytes(400),
    "no UTF-8": b'{"spec": "\xff\xfe"}',
    "UTF-16": json.dumps(WRITTEN_TODAY).encode("utf-16"),
    "long number": b'{"spec": ' + b"9" * 5000 + b"}",
    "huge": b" " * (sealed_json.LARGEST + 1),
    "broken seal": json.dumps(sealed_json.sealed(WRITTEN_TODAY) | {"sizes": [1, 2]}).encode(),
}


@pytest.fixture
def made(tmp_path):
    """(plan, store, flags) in which every unit is complete."""
    plan, store = fabricated.plan(tmp_path), Store(tmp_path / "output" / "mine")
    fabricated.complete(plan, store)
    return plan, store, ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")]


def request(flags: list[str]) -> cli.Request:
    return cli.parse(cli.parser("contract"), flags)


def folder_with(path: Path, *names: str) -> None:
    path.unlink()
    path.mkdir()
    for name in names:
        (path / name).touch()


def test_a_record_of_an_earlier_version_is_read_as_it_stands(tmp_path):
    artifact = Artifact(tmp_path / "folds.json", (tmp_path / "folds.csv",))
    artifact.files[0].write_text("1\n"[:1] + "0")
    save_json(artifact.record_path, WRITTEN_TODAY)
    assert artifact.record() == WRITTEN_TODAY
    assert artifact.digest() == "cd" * 32
    entry = WRITTEN_TODAY["files"]["folds.csv"] | {"sha256": digests.file_digest(artifact.files[0])}
    save_json(artifact.record_path, WRITTEN_TODAY | {"files": {"folds.csv": entry}})
    assert artifact.verified() == artifact.files[0]
    with pytest.raises(Damaged, match=r"'precision' is None, no str"):
        artifact.fact("precision", str)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_a_record_saved_by_an_editor_is_the_same(made, bom):
    path = made[1].folds().record_path
    path.write_bytes(bom + path.read_bytes().replace(b"\n", b"\r\n"))
    assert fabricated.only(*made[:2], "folds").state() == ("complete", [])


@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
@pytest.mark.parametrize("label", ["inputs", "folds", "runs/b/fold1"])
def test_a_record_that_is_none_is_told_by_status_and_stages_and_mended_by_force(made, label, content):
    plan, store, flags = made
    unit = fabricated.only(plan, store, label)
    unit.artifact.record_path.write_bytes(content)
    lines = status.table(request(flags))
    (line,) = [line for line in lines if line.startswith("    damaged ")]
    assert line.startswith(f"    damaged   {label}: {unit.artifact.record_path} is damaged (")
    assert any(line.startswith("  report ") for line in lines), "it goes on with the others"
    with pytest.raises(Damaged, match=rf"{label} is damaged: .* --force`") as told:
        request(flags).to_do(iter([unit]))
    assert str(unit.artifact.record_path) in str(told.value)
    assert request([*flags, "--force", "--yes"]).to_do(iter([unit])) == [unit]
    fabricated.make(unit)
    assert not [line for line in status.table(request(flags)) if line.startswith("    ")]


def test_an_empty_folder_in_the_place_of_a_file_goes_and_a_full_one_stays(made):
    plan, store, flags = made
    for path in (store.folds().record_path, store.folds().files[0]):
        folder_with(path)
        with pytest.raises(Damaged, match=r"is damaged"):
            request(flags).to_do(dependencies.folds(plan, store))
        fabricated.make(fabricated.only(plan, store, "folds"))
        folder_with(path, "mine.txt")
        with pytest.raises(UserError, match=r"is a folder, expected a file or nothing: move it elsewhere"):
            store.folds().begin()
        assert (path / "mine.txt").exists()
        (path / "mine.txt").unlink()
        fabricated.make(fabricated.only(plan, store, "folds"))


def test_a_flipped_bit_anywhere_in_a_record_is_told_or_changes_nothing(made):
    _, store, _ = made
    path, right = store.crops("big", "train").record_path, store.crops("big", "train").record()
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = store.crops("big", "train").record()
        except Damaged:
            continue
        assert {key: value for key, value in found.items() if key in right} == right


def test_a_source_that_changed_is_told_with_the_least_that_mends_it(made):
    plan, store, flags = made
    unit = fabricated.only(plan, request(flags).store, "predictions of b/fold1")
    unit.artifact.record_path.unlink()
    path = store.trained("b", 1).files[0]
    path.write_text(path.read_text().swapcase())
    with pytest.raises(Damaged) as told:
        request(flags).to_do(iter([unit]))
    assert f"{path} is not what was written" in str(told.value)
    command = shlex.join(["./run.sh", "train", *flags, "--run", "b", "--fold", "1", "--force"])
    assert str(told.value).endswith(f"`{command}`")


def test_advice_taken_literally_mends_and_costs_nothing_that_was_made_from_it(survey, tmp_path):
    """Folds and inputs made anew are the same: the ensemble too, and no network is trained or asked again."""
    flags = ["--plan", survey.flags[1], "--output", str(tmp_path)]
    shutil.copytree(survey.store.root, tmp_path / "survey")
    store, plan = Store(tmp_path / "survey"), request(flags).plan
    right = store.ensemble("final").digest()
    for path, stage in (
        (store.folds().files[0], folds),
        (store.folds().record_path, folds),
        (store.inputs().files[0], inputs),
    ):
        path.write_bytes(path.read_bytes()[:-9])
        store.ensemble("final").record_path.unlink()
        with pytest.raises(Damaged, match=re.escape(str(path))) as told:
            ensemble.main(flags)
        name, *advice = shlex.split(re.search(r"`\./run\.sh ([^`]*)`", str(told.value))[1])
        assert stage.__name__ == f"pipeline.stages.{name}"
        stage.main(advice)
        ensemble.main(flags)
        assert store.ensemble("final").digest() == right
        states = [unit.state()[0] for make in (dependencies.train, dependencies.predict) for unit in make(plan, store)]
        assert set(states) == {"complete"}


def test_without_their_record_the_inputs_are_not_guessed(survey, tmp_path):
    """Files from another folder would be another galaxy's answers, and all work done again."""
    flags = ["--plan", survey.flags[1], "--output", str(tmp_path)]
    shutil.copytree(survey.store.root, tmp_path / "survey")
    store = Store(tmp_path / "survey")
    right = store.inputs().digest()
    store.inputs().record_path.write_text("null")
    for more in ([], ["--force"]):
        with pytest.raises(Damaged, match=r"Say where the competition's files are: `\./run\.sh inputs .* --input DIR"):
            inputs.main([*flags, *more])
    inputs.main([*flags, "--input", str(survey.raw), "--force", "--yes"])
    assert store.inputs().digest() == right


@pytest.mark.parametrize(
    "content",
    [b"null", b"[]", b"{", b"\xff", b'{"vgg61": {"path": "a", "bytes": 1, "sha256": "b"}}', b'{"vgg16": {"path": 1}}'],
)
def test_a_damaged_list_of_weights_is_told_and_given_again(made, content):
    _, store, flags = made
    store.weights_list().write_bytes(content)
    assert any(line.startswith("  train      damaged: ") for line in status.table(request(flags)))
    with pytest.raises(Damaged, match=r"weights\.json is damaged .*--weights BACKBONE=FILE --force`, or delete it"):
        inputs.known_weights(store, {"vgg16": {}}, force=False)
    assert inputs.known_weights(store, {"vgg16": {}}, force=True) == {}


def test_a_flipped_bit_in_the_list_of_weights_is_told(made):
    _, store, _ = made
    right = {"vgg16": {"path": "/weights/of-mine.h5", "bytes": 7, "sha256": "ab" * 32}}
    store.save_weights_list(right)
    whole = store.weights_list().read_bytes()
    for at in range(len(whole)):
        store.weights_list().write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert store.load_weights_list() == right
        except Damaged:
            continue


@pytest.mark.parametrize("content", [b"null", b"[]", b"{", b"", b"\xff", b'{"why": 3, "spec": {}}', b'{"why": "x"}'])
def test_a_failure_that_cannot_be_read_is_not_known(made, content):
    plan, store, _ = made
    store.failure("a", 0).write_bytes(content)
    assert dependencies.failure(fabricated.only(plan, store, "runs/a/fold0"), store) is None


def test_a_digest_is_kept_while_a_file_stays_as_it_is(tmp_path, monkeypatch):
    path, memory = tmp_path / "a", tmp_path / ".a.read.json"
    path.write_text("1")
    os.utime(path, ns=(1, 1))
    monkeypatch.setattr(digests, "YOUNG", -1e12)
    monkeypatch.setattr(digests, "LARGE", 1)
    first = digests.digest_of(path, memory)
    monkeypatch.setattr(digests, "file_digest", lambda _: pytest.fail("read again"))
    assert digests.digest_of(path, memory) == first
    monkeypatch.setattr(digests, "_known", {})  # another process
    assert digests.digest_of(path, memory) == first
    monkeypatch.setattr(digests, "file_digest", lambda _: "read")
    with monkeypatch.context() as other:
        other.setattr(digests, "_known", {})
        assert digests.digest_of(path, None) == "read"  # status --check trusts no memory
    stamp = path.stat().st_mtime_ns
    path.write_text("2")
    os.utime(path, ns=(stamp, stamp))  # the time of its content is put back, that of its inode cannot be
    assert digests.digest_of(path, memory) == "read"
    for junk in (b"", b"null", b"[]", b'{"a": 3}', b'{"a": {"state": 1, "sha256": 1}}', b"[" * 200_000):
        memory.write_bytes(junk)
        monkeypatch.setattr(digests, "_known", {})
        assert digests.digest_of(path, memory) == "read"


def test_what_changed_a_moment_ago_is_read_again(tmp_path):
    """Within one tick of the clock a file can change without its times telling."""
    path = tmp_path / "a"
    path.write_text("1")
    first = digests.digest_of(path, None)
    os.utime(path)
    path.write_text("2")
    assert digests.digest_of(path, None) != first


def test_what_is_made_by_the_way_is_checked_too(made):
    plan, store, flags = made
    fabricated.make(dependencies.features(plan, store, plan.run("a")))
    path = store.features("a").files[0]
    path.write_text(path.read_text().swapcase())
    (line,) = [line for line in status.table(request(flags), status.Checked()) if "corrupt" in line]
    assert line.startswith(f"    corrupt   features of a: {path} is not what was written")
    store.features("a").record_path.write_text("null")
    (line,) = [line for line in status.table(request(flags)) if "damaged" in line]
    assert line.startswith("    damaged   features of a: ")


LOST = {
    "a fold": lambda store: store.trained("fine", 1).record_path,
    "the views": lambda store: store.predicted("fine", 0).record_path,
    "the crop": lambda store: store.crops("half", "train").record_path,
    "weights": lambda store: store.trained("head", 1).files[0],
}


@pytest.mark.parametrize("damage", ["gone", "flip"])
@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_an_ensemble_that_lacks_something_answers_nothing(survey, tmp_path, lost, damage):
    """Not by the folds that are left, nor by other views."""
    shutil.copytree(survey.store.root, tmp_path / "survey")
    store = Store(tmp_path / "survey")
    path = lost(store)
    if damage == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(UserError, match=re.escape(str(path))):
        Classifier(tmp_path / "survey" / "ensembles" / "final")


RAW = re.compile(r"(load|read_csv|read_parquet|load_fractions|load_weights|read_text|read_bytes|open)\([^)]*\.files\b")


@pytest.mark.parametrize("path", sorted(Path(cli.__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_no_module_reads_the_files_of_an_artifact_but_by_verified(path):
    text = path.read_text(encoding="utf-8")
    assert not RAW.search(text)
    own = ("sealed_json.py", "digests.py", "locks.py", "settings.py", "journal.py", "application.py")
    assert "json.loads" not in text or path.name in own
    assert "record_path.read" not in text
