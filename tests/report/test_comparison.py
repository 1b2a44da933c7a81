"""Two plans side by side: differences by hand, and what cannot be compared."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.plans import label_schemas
from pipeline.report import comparison
from pipeline.stages import report
from pipeline.store.artifacts import Store
from tests.builders import finished_plan


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(folder of a plan, folder of the same whose final ensemble answers better on question 1)."""
    folder = tmp_path_factory.mktemp("pair")
    _, _, store = finished_plan.make(folder)
    other = folder / "other"
    shutil.copytree(store.root, other)
    path = other / "ensembles/final/oof.parquet"
    truth, oof = pd.read_parquet(other / "inputs/labels.parquet"), pd.read_parquet(path)
    oof.iloc[:, :3] = (oof.iloc[:, :3] + truth.iloc[:, :3]) / 2
    oof.to_parquet(path)
    Store(other).ensemble("final").finish({}, {})
    return store.root, other


def score(folder, columns=slice(None)):
    truth, oof = (pd.read_parquet(folder / name) for name in ("inputs/labels.parquet", "ensembles/final/oof.parquet"))
    return np.sqrt(((oof - truth).to_numpy()[:, columns] ** 2).mean())


def test_what_got_better_and_where(pair):
    lines = {line[:34].strip(): line.split() for line in comparison.comparison_lines(*pair) if line}
    final = lines["ensembles/final"]
    assert final[1:4] == [f"{score(pair[0]):.4f}", f"{score(pair[1]):.4f}", f"{score(pair[1]) - score(pair[0]):+.4f}"]
    assert final[-1] == "better"
    assert lines["1 smooth or features"][-1] == "better"
    assert lines["2 edge-on"][-2:] == ["the", "same"]
    assert lines["runs/vgg16"][-2:] == ["the", "same"]
    assert "none" in lines["much worse: none"]


def test_what_only_one_of_the_two_has_is_named(pair, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(pair[0], other)
    (other / "runs/vgg16").rename(other / "runs/vgg19")
    shutil.rmtree(other / "baselines/ridge")
    lines = list(comparison.comparison_lines(pair[0], other))
    assert f"only in {pair[0]}: baselines/ridge, runs/vgg16" in lines
    assert f"only in {other}: runs/vgg19" in lines
    assert not [line for line in comparison.comparison_lines(*pair) if line.startswith("only in")]


def test_the_accuracy_has_the_interval_of_its_difference(pair):
    line = next(line for line in comparison.comparison_lines(*pair) if line.startswith("five-class accuracy"))
    found = re.fullmatch(
        r"five-class accuracy ([\d.]+)% -> ([\d.]+)%, ([+-][\d.]+) points "
        r"\(([+-][\d.]+) to ([+-][\d.]+), of (\d+) galaxies\)  (better|worse|cannot tell|the same)",
        line,
    )
    before, after, gain, low, high, n = (float(text) for text in found.groups()[:6])
    assert gain == pytest.approx(after - before, abs=0.11)
    assert low <= gain <= high
    assert 0 < n <= 90
    assert found[7] == ("better" if low > 0 else "worse" if high < 0 else "the same" if low == high else "cannot tell")
    same = next(line for line in comparison.comparison_lines(pair[0], pair[0]) if line.startswith("five-class"))
    assert "+0.0 points (+0.0 to +0.0" in same
    assert same.endswith("the same")


def test_questions_are_compared_whatever_the_schemas_are_called(pair, tmp_path):
    table = label_schemas.load_table(label_schemas.DEFAULT)

    def labelled_by(schema_name, last):
        place = shutil.copytree(pair[0], tmp_path / schema_name)
        questions = (*table.questions[:-1], table.questions[-1].model_copy(update=last))
        schema = label_schemas.to_record(schema_name, table.model_copy(update={"questions": questions}))
        Store(place).inputs().finish({}, {}, folder="sky", schema=schema)
        return place

    assert len(list(comparison.comparison_lines(pair[0], labelled_by("words", {"text": "In other words"})))) > 10
    with pytest.raises(UserError, match=r"galaxy-zoo-2, .* by names \(other questions, answers or columns\)"):
        list(comparison.comparison_lines(pair[0], labelled_by("names", {"name": "another"})))


def test_from_the_command_line_it_needs_no_plan(pair, capsys):
    report.main(["--compare", *map(str, pair)])
    assert "on the 90 galaxies of both" in capsys.readouterr().out
    for more in (["--plan", "demo"], ["--output=out"]):
        with pytest.raises(SystemExit):
            report.main([*more, "--compare", *map(str, pair)])
        assert "leave --plan and --output out; --help lists all flags" in capsys.readouterr().err


def test_what_is_no_plan_or_other_data_is_refused(pair, tmp_path):
    with pytest.raises(UserError, match="holds no predictions"):
        list(comparison.comparison_lines(pair[0], tmp_path))
    with pytest.raises(UserError, match=rf"there is no output folder .*; did you mean {pair[0].name}\?"):
        list(comparison.comparison_lines(pair[0], pair[0].with_name(pair[0].name + "x")))
    other = tmp_path / "other"
    shutil.copytree(pair[0], other)
    path = other / "inputs/labels.parquet"
    pd.read_parquet(path).iloc[::-1].reset_index(drop=True).set_axis(pd.read_parquet(path).index).to_parquet(path)
    with pytest.raises(UserError, match=r"labels.parquet is not what was written"):
        list(comparison.comparison_lines(pair[0], other))
    Store(other).inputs().finish({}, {}, folder="sky")
    with pytest.raises(UserError, match="other labels under them"):
        list(comparison.comparison_lines(pair[0], other))


def test_an_ensemble_of_networks_that_were_made_anew_is_told(survey, tmp_path):
    other = tmp_path / "survey"
    shutil.copytree(survey.store.root, other)
    assert not [line for line in comparison.comparison_lines(survey.store.root, other) if "OUTDATED" in line]
    trained = Store(other).trained("fine", 1)
    trained.write({key: value for key, value in trained.required().items() if key != "seal"} | {"digest": "0" * 64})
    lines = [line for line in comparison.comparison_lines(survey.store.root, other) if "OUTDATED" in line]
    of_run, of_ensemble = lines[:2]
    assert of_run.startswith(f"OUTDATED: the predictions of run fine in {other} are not of the networks that are there")
    assert "(such as fold 1), so its score is not theirs: `./run.sh predict --plan " in of_run
    assert of_ensemble.startswith(
        f"OUTDATED: the networks (such as fine/fold1) in {other} are not those that the ensemble final was"
    )
