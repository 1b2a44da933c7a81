"""Stage 0: every problem of the raw files is told at once, nothing is done twice, the folder is remembered."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.competition import checks, source_files
from pipeline.errors import UserError
from pipeline.labelled.inputs import Prepared
from pipeline.plans import label_schemas
from pipeline.plans.config import load_plan
from pipeline.stages import inputs
from pipeline.store import dependencies, network_caveats
from pipeline.store.artifacts import Store
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

GIVEN = os.environ.get("GALAXY_ZOO_INPUT")
SKY = "sky = { train = 10, test = 3 }"


def run(folder: Path, *flags: str, more: str = "") -> Store:
    """The stage on the plan `tiny`; its store."""
    inputs.main([*tiny.plan(folder, more=more), *flags])
    return Store(folder / "output" / "tiny")


def run_on(folder: Path, raw: Path, *flags: str) -> Store:
    return run(folder, "--input", str(raw), *flags)


def edited(change) -> pd.DataFrame:
    """The labels after `change(values by position)`."""
    frame = tiny.labels()
    change(frame)
    return frame


@pytest.mark.parametrize("zipped", [True, False])
def test_writes_labels_and_sample(tmp_path, caplog, zipped):
    caplog.set_level("INFO")
    store = run_on(tmp_path, tiny.write(tmp_path / "raw", zipped=zipped))
    pd.testing.assert_frame_equal(store.load_labels(), tiny.labels().sort_index().astype(np.float32))
    header, ids = store.load_sample()
    assert header == ["GalaxyID", *GZ2.columns]
    assert ids.tolist() == list(tiny.TEST)
    sample = pd.read_csv(store.inputs().files[1], index_col=0)
    assert sample.shape == (3, 37)
    assert (sample == 0).all(axis=None)
    record = store.inputs().record()
    assert (record["n_train"], record["n_test"], record["folder"]) == (6, 3, str(tmp_path / "raw"))
    assert "6 training galaxies, 3 test galaxies from" in caplog.text


@pytest.mark.parametrize("zipped", [True, False])
def test_a_second_call_writes_nothing_and_remembers_the_folder(tmp_path, monkeypatch, zipped):
    store = run_on(tmp_path, tiny.write(tmp_path / "raw", zipped=zipped))
    times = {path: path.stat().st_mtime_ns for path in (store.root / "inputs").iterdir()}
    monkeypatch.setattr(inputs, "read_checked", lambda *_: pytest.fail("checked again"))
    if zipped:  # not even listed
        monkeypatch.setattr(checks, "Images", lambda _: pytest.fail("opened again"))
    began = time.perf_counter()
    run(tmp_path)
    assert time.perf_counter() - began < 0.5
    assert times == {path: path.stat().st_mtime_ns for path in (store.root / "inputs").iterdir()}


def test_what_another_process_made_meanwhile_is_read_and_not_written_over(tmp_path, monkeypatch):
    raw, looked, prints = tiny.write(tmp_path / "raw"), [], inputs.fingerprints

    def slowly(files):
        looked.append(files)
        if len(looked) == 1:
            run_on(tmp_path, raw)  # by another process, from its beginning to its end
        return prints(files)

    monkeypatch.setattr(inputs, "fingerprints", slowly)
    store = run_on(tmp_path, raw)
    assert (store.inputs().required()["n_train"], store.inputs().required()["n_test"]) == (6, 3)
    assert store.inputs().checksum_mismatches() == []


def test_a_moved_folder_is_the_same_data(tmp_path):
    store = run_on(tmp_path, tiny.write(tmp_path / "raw"))
    digest = store.inputs().digest()
    shutil.move(tmp_path / "raw", tmp_path / "moved")
    with pytest.raises(UserError, match=r"no folder .*--input DIR"):
        run(tmp_path)
    run_on(tmp_path, tmp_path / "moved")
    assert store.inputs().record()["folder"] == str(tmp_path / "moved")
    assert store.inputs().digest() == digest
    run(tmp_path)


def test_a_plan_may_take_a_part_of_the_galaxies(tmp_path, caplog):
    caplog.set_level("INFO")
    raw = tiny.write(tmp_path / "raw")
    store = run(tmp_path, "--input", str(raw), more="galaxies = 4")
    (header, ids), record = store.load_sample(), store.inputs().required()
    assert set(store.load_labels().index) < set(tiny.TRAIN)
    assert (len(store.load_labels()), ids.tolist(), len(header)) == (4, list(tiny.TEST), 38)
    assert (record["n_train"], record["of"], record["spec"]["galaxies"]) == (4, {"train": 6, "test": 3}, 4)
    assert "4 of 6 training galaxies, 3 of 3 test galaxies from" in caplog.text
    told = "A quick try, by galaxies = 4 in the plan: 4 of 6 training galaxies, and 3 of 3 to predict."
    assert list(network_caveats.part_of_the_galaxies(store)) == [told]
    with pytest.raises(UserError, match=r"galaxies: 4 -> None.*--force"):
        run(tmp_path)
    run(tmp_path, "--force")
    assert len(store.load_labels()) == 6
    assert not list(network_caveats.part_of_the_galaxies(store))


@pytest.mark.parametrize("what", ["image", "label"])
def test_other_data_are_refused_until_forced(tmp_path, what):
    store = run_on(tmp_path, tiny.write(tmp_path / "raw"))
    digest = store.inputs().digest()
    train = tiny.images(tiny.TRAIN)
    train["100008.jpg"] = train["100023.jpg"]
    swapped = tiny.labels().iloc[::-1].set_axis(tiny.labels().index)
    other = {"image": {"train": train}, "label": {"table": swapped}}[what]
    tiny.write(tmp_path / "raw", **other)
    with pytest.raises(UserError, match="--force"):
        run(tmp_path)
    assert store.inputs().digest() == digest
    run(tmp_path, "--force")
    assert store.inputs().digest() != digest  # so that what is made from it is made anew


def test_small_overshoots_are_fine_and_cut_off(tmp_path):
    def overshoot(frame):
        frame.iloc[0] = frame.iloc[0].where(frame.iloc[0] != frame.iloc[0].min(), -5e-7)
        frame.loc[100008, ["Class6.1", "Class6.2"]] = [-4e-7, 1 + 4e-7]
        frame.loc[100008, [c for c in GZ2.columns if c.startswith("Class8.")]] = 0

    store = run_on(tmp_path, tiny.write(tmp_path / "raw", table=edited(overshoot)))
    labels = store.load_labels().to_numpy()
    assert labels.min() == 0
    assert labels.max() == 1


def put(row: int, column: int, value: object):
    return lambda frame: frame.isetitem(column, frame.iloc[:, column].astype(object).where(np.arange(6) != row, value))


def without(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: data for key, data in members.items() if key != name}


TRAIN, TEST = tiny.images(tiny.TRAIN), tiny.images(tiny.TEST)
PROBLEMS = {
    "not a number": ({"table": edited(put(0, 3, "much"))}, "not finite: 1 (such as 100023)"),
    "empty": ({"table": edited(put(1, 0, ""))}, "not finite: 1 (such as 100008)"),
    "infinite": ({"table": edited(put(1, 0, np.inf))}, "not finite: 1 (such as 100008)"),
    "negative": ({"table": edited(put(2, 36, -1e-4))}, "outside [0, 1]: 1 (such as 100053)"),
    "above 1": ({"table": edited(put(2, 14, 1.001))}, "outside [0, 1]: 1 (such as 100053)"),
    "sums": ({"table": tiny.labels() * 0.5}, "sum to their parent within 0.001: 6 (such as 100023, 100008, 100053)"),
    "columns": (
        {"table": tiny.labels().rename(columns={"Class3.1": "bar"})},
        "labels: expected the 37 columns Class1.1 … Class11.6; missing 1 (such as Class3.1), unknown 1 (such as bar)",
    ),
    "double id": (
        {"table": pd.concat([tiny.labels(), tiny.labels().iloc[:1]])},
        "labels: GalaxyIDs that occur more than once: 1 (such as 100023)",
    ),
    "id": (
        {"table": tiny.labels().rename(index={100023: "abc"})},
        "labels: GalaxyIDs that are not integers: 1 (such as abc)",
    ),
    "no labels": ({"table": tiny.labels().iloc[:0]}, "labels: no galaxies in it"),
    "image without label": ({"train": TRAIN | {"7.jpg": b"x"}}, "images that are not in the labels: 1 (such as 7)"),
    "label without image": (
        {"train": without(TRAIN, "987654.jpg")},
        "galaxies of the labels without one of the training images: 1 (such as 987654)",
    ),
    "double image": ({"train": TRAIN | {"x/100023.jpg": b"x"}}, "is there already"),
    "strange image": ({"train": TRAIN | {"copy of 100023.jpg": b"x"}}, "name is no GalaxyID"),
    "image outside": ({"train": TRAIN | {"../../7.jpg": b"x"}}, "point outside the archive"),
    "sample without image": (
        {"test": without(TEST, "300002.jpg")},
        "galaxies of the sample without one of the test images: 1 (such as 300002)",
    ),
    "image without sample": ({"test": TEST | {"7.jpg": b"x"}}, "test images that are not in the sample: 1 (such as 7)"),
    "double sample": (
        {"sample": 0 * tiny.labels((*tiny.TEST, 300001))},
        "sample: GalaxyIDs that occur more than once: 1 (such as 300001)",
    ),
    "sample columns": (
        {"sample": 0 * tiny.labels(tiny.TEST).iloc[:, 1:]},
        "sample: expected the 37 columns Class1.1 … Class11.6; missing 1 (such as Class1.1)",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_is_told_and_nothing_written(tmp_path, name):
    wrong, message = PROBLEMS[name]
    with pytest.raises(UserError) as error:
        run_on(tmp_path, tiny.write(tmp_path / "raw", **wrong))
    assert message in str(error.value)
    alone = name not in ("id", "no labels")  # these leave images without label
    assert f"have {1 if alone else 2} problem" in str(error.value)
    assert not (tmp_path / "output").exists()


def test_all_problems_are_told_at_once(tmp_path):
    table = tiny.labels().rename(index={100023: "abc", 100078: 100053})
    table.iloc[1, 0], table.iloc[2, 5] = np.nan, 2
    wrong = {"table": table, "test": TEST | {"a.jpg": b"x"}, "sample": 0 * tiny.labels((300002, 300001, 5))}
    with pytest.raises(UserError) as error:
        run_on(tmp_path, tiny.write(tmp_path / "raw", **wrong))
    lines = [line for line in str(error.value).splitlines() if line.startswith("  - ")]
    for part in (
        *(
            "not integers: 1 (such as abc)",
            "more than once: 1 (such as 100053)",
            "not finite: 1 (such as 100008)",
        ),
        *("outside [0, 1]: 1 (such as 100053)", "not in the labels: 2 (such as 100023, 100078)", "no GalaxyID"),
        *("not in the sample: 1 (such as 300010)", "without one of the test images: 1 (such as 5)"),
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 8
    assert "8 problems" in str(error.value)
    assert source_files.DATA_PAGE in str(error.value)


def fake_draw(folder, *, n_train, n_test, seed, workers=None, progress=True):
    train, test = tuple(range(1, n_train + 1)), tuple(range(100, 100 + n_test))
    tiny.write(
        folder,
        table=tiny.labels(train),
        sample=0 * tiny.labels(test),
        train=dict.fromkeys((f"{i}.jpg" for i in train), bytes([seed])),
        test=dict.fromkeys((f"{i}.jpg" for i in test), b""),
    )
    tiny.labels(test).to_csv(folder / "sky_test_solutions.csv")


def test_a_plan_with_a_sky_draws_once_and_may_be_moved(tmp_path, monkeypatch):
    from pipeline.sky import survey

    monkeypatch.setattr(survey, "draw", fake_draw)
    store = run(tmp_path, more=SKY)
    assert store.load_labels().index.tolist() == list(range(1, 11))
    assert store.inputs().record()["folder"] == "sky"
    assert store.inputs().record()["made_from"] == {"sky": store.sky().digest()}
    monkeypatch.setattr(survey, "draw", lambda *_, **__: pytest.fail("drawn again"))
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "output", tmp_path / "moved" / "output")
    store = run(tmp_path / "moved", more=SKY)
    plan = load_plan(str(tmp_path / "moved" / "tiny.toml"))
    assert [unit.state()[0] for unit in (*dependencies.sky(plan, store), *dependencies.inputs(plan, store))] == [
        "complete"
    ] * 2
    with pytest.raises(UserError, match="train: 10 -> 11"):
        run(tmp_path / "moved", more=SKY.replace("10", "11"))


def test_given_files_go_before_the_sky(tmp_path):
    raw = tiny.write(tmp_path / "raw")
    store = run(tmp_path, "--input", str(raw), more=SKY)
    run(tmp_path, more=SKY)
    plan = load_plan(str(tmp_path / "tiny.toml"))
    assert [unit.state()[0] for unit in (*dependencies.sky(plan, store), *dependencies.inputs(plan, store))] == [
        "complete"
    ]
    assert store.load_labels().index.tolist() == sorted(tiny.TRAIN)
    assert not store.sky().record_path.parent.exists()


def test_without_anything_the_input_folder_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(source_files, "INPUT", tmp_path / "input")
    with pytest.raises(UserError, match=r"kaggle.com.*--input DIR.*demo"):
        run(tmp_path)
    tiny.write(tmp_path / "input")
    assert run(tmp_path).inputs().record()["folder"] == str(tmp_path / "input")


def test_as_a_program_it_ends_with_code_2_and_one_sentence(tmp_path):
    command = [sys.executable, "-m", "pipeline", "inputs", *tiny.plan(tmp_path), "--input", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(inputs.__file__).parents[2])
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no folder")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not GIVEN, reason="GALAXY_ZOO_INPUT names no folder with the competition's real files")
def test_real_files_are_flawless(tmp_path):
    store = run_on(tmp_path, Path(GIVEN))
    record = json.loads(store.inputs().record_path.read_text())
    assert record["n_train"] == len(store.load_labels()) > 1000
    assert record["n_test"] == len(store.load_sample()[1]) > 1000


@pytest.mark.parametrize(("change", "force", "kept"), [
    ({"texts": ("indeed", "not at all")}, False, True),
    ({"texts": ("indeed", "not at all")}, True, False),
    ({"answers": ("y", "n"), "texts": ()}, False, False),
])  # fmt: skip
def test_a_schema_of_other_words_is_the_recorded_one(change, force, kept):
    table = label_schemas.load_table("gz-decals")
    questions = (table.questions[0], table.questions[1].model_copy(update=change), *table.questions[2:])
    before, now = (
        label_schemas.to_record("gz-decals", one) for one in (table, table.model_copy(update={"questions": questions}))
    )
    facts = {"spec": {"schema": before}}
    store = SimpleNamespace(inputs=lambda: SimpleNamespace(facts=lambda: facts))
    request = SimpleNamespace(store=store, options=SimpleNamespace(force=force))
    made = Prepared._make([None] * len(Prepared._fields))
    made = made._replace(schema=table.schema("gz-decals"), recorded=now, prints={"schema": now, "train": 1})
    found = inputs._in_recorded_words(request, made)
    assert found.recorded == (before if kept else now)
    assert found.prints == {"schema": found.recorded, "train": 1}
