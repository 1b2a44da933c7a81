"""The report's numbers against the same numbers computed here from the Parquet files, by other code."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.report import leaderboard
from pipeline.report.material import Material
from pipeline.report.sections import (
    accuracy,
    calibration,
    confusion,
    feature_maps,
    galleries,
    intervals,
    leaderboard_table,
    provenance,
    summary,
    training,
    votes,
)
from tests.builders import finished_plan
from tests.builders.galaxy_zoo_2 import GZ2

QUESTIONS = {1: 3, 2: 2, 3: 2, 4: 2, 5: 4, 6: 2, 7: 3, 8: 7, 9: 3, 10: 3, 11: 6}  # answers of each
PARENTS = {2: "1.2", 3: "2.2", 4: "2.2", 5: "2.2", 7: "1.1", 8: "6.1", 9: "2.1", 10: "4.1", 11: "4.1"}
CLASSES = {  # class -> (column, least fraction) ..., the last its own
    "completely round smooth": {"1.1": 0.469, "7.1": 0.50},
    "in-between smooth": {"1.1": 0.469, "7.2": 0.50},
    "cigar-shaped smooth": {"1.1": 0.469, "7.3": 0.50},
    "edge-on": {"1.2": 0.430, "2.1": 0.602},
    "spiral": {"1.2": 0.430, "2.2": 0.715, "4.1": 0.619},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    _, plan, store = finished_plan.make(tmp_path_factory.mktemp("plan"), n=300)
    return Material(plan, store, leaderboard.score_all(plan, store))


@pytest.fixture(scope="module")
def files(made):
    """name -> frame of 37 columns "1.1" … "11.6", all in the order of the labels; read without the pipeline's code."""
    root = made.store.root
    found = {"truth": pd.read_parquet(root / "inputs/labels.parquet")}
    for run in ("vgg16", "efficientnetb0"):
        found[run] = pd.concat([pd.read_parquet(root / f"runs/{run}/fold{k}/valid.parquet") for k in range(3)])
    for name in ("final", "by-question"):
        found[name] = pd.read_parquet(root / f"ensembles/{name}/oof.parquet")
    index = found["truth"].index
    return {k: f.loc[index].rename(columns=lambda c: c.removeprefix("Class")).astype(float) for k, f in found.items()}


@pytest.fixture(scope="module")
def best(made, files):
    return files[made.best.name]


def columns_of(question: int) -> list[str]:
    return [f"{question}.{i}" for i in range(1, QUESTIONS[question] + 1)]


def labelled(truth: pd.DataFrame) -> pd.Series:
    """Class of the galaxies that meet exactly one rule."""
    meets = pd.DataFrame({n: (truth[list(r)] >= pd.Series(r)).all(axis=1) for n, r in CLASSES.items()})
    return meets.idxmax(axis=1)[meets.sum(axis=1) == 1]


def answered(predicted: pd.DataFrame) -> pd.Series:
    """Class with the largest own column."""
    own = {list(rule)[-1]: name for name, rule in CLASSES.items()}
    return predicted[list(own)].idxmax(axis=1).map(own)


def test_the_head_says_the_best_entry_and_galaxies_in_the_order_of_its_answer(made, best, files):
    head = summary.summary(made)
    assert head["best"].score == pytest.approx(np.sqrt(((best - files["truth"]) ** 2).to_numpy().mean()))
    predicted = [galaxy["predicted"] for galaxy in head["strip"]]
    assert predicted == sorted(predicted)
    assert len(predicted) == summary.STRIP
    assert head["clean"] == len(labelled(files["truth"]))


def test_each_question_and_answer(made, best, files):
    truth, section = files["truth"], accuracy.section(made)
    squared = (best - truth) ** 2
    table = section.facts["table"]
    at = table["entries"].index(made.best)
    for row in table["rows"]:
        number = row["question"].number
        mine = columns_of(number)
        assert row["values"][at] == pytest.approx(np.sqrt(squared[mine].to_numpy().mean()))
        asked = truth[PARENTS[number]] >= 0.5 if number in PARENTS else truth["1.1"] >= 0
        assert row["asked"] == asked.sum()
        hits = truth.loc[asked, mine].idxmax(axis=1) == best.loc[asked, mine].idxmax(axis=1)
        assert row["leading"] == pytest.approx(hits.mean())
    answers = section.facts["answers"].numbers.set_index("column")
    assert answers["share"].sum() == pytest.approx(1)
    assert answers.loc["Class3.2", "share"] == pytest.approx(squared["3.2"].sum() / squared.to_numpy().sum())
    assert answers["share"].is_monotonic_decreasing


def test_agreement(made, best, files):
    first = columns_of(1)
    truth, numbers = files["truth"], accuracy.section(made).facts["agreement"].numbers
    assert numbers["galaxies"].sum() == len(truth)
    sure = truth[first].max(axis=1) >= 0.9
    hits = truth.loc[sure, first].idxmax(axis=1) == best.loc[sure, first].idxmax(axis=1)
    last = numbers.iloc[-1]
    assert (last["galaxies"], last["accuracy"]) == (sure.sum(), pytest.approx(hits.mean()))


def test_five_classes(made, best, files):
    true = labelled(files["truth"])
    said = answered(best.loc[true.index])
    crossed = pd.crosstab(true, said)
    five = confusion.section(made).facts["five"]
    for row in five["rows"]:
        for name, (number, part) in zip(five["classes"], row["cells"], strict=True):
            assert number == crossed.get(name, {}).get(row["name"], 0)
            assert part == pytest.approx(number / max(1, row["total"]))
    assert five["n"] == len(true)
    for row in accuracy.five_classes(made)["rows"]:
        right = ((true == row["name"]) & (said == row["name"])).sum()
        assert row["n"] == (true == row["name"]).sum()
        assert row["recall"] == pytest.approx(right / row["n"])
        assert row["precision"] == pytest.approx(right / (said == row["name"]).sum())
        assert row["f1"] == pytest.approx(2 / (1 / row["recall"] + 1 / row["precision"]))


def test_matrices_of_the_questions_add_up(made, files):
    for item in confusion.per_question(made):
        number = item["question"].number
        asked = files["truth"][PARENTS[number]] >= 0.5 if number in PARENTS else files["truth"]["1.1"] >= 0
        if not asked.any():
            assert item["matrix"] is None
            continue
        leading = files["truth"].loc[asked, columns_of(number)].idxmax(axis=1).value_counts()
        totals = {f"{number}.{i}": row["total"] for i, row in enumerate(item["matrix"]["rows"], 1)}
        assert totals == {column: leading.get(column, 0) for column in columns_of(number)}


def test_the_most_confused_are_shown_with_their_votes(made, best, files):
    for pair in confusion.most_confused(made):
        for galaxy in pair["galaxies"]:
            assert labelled(files["truth"]).loc[galaxy["id"]] == pair["true"]
            own = [list(CLASSES[pair[key]])[-1] for key in ("true", "predicted")]
            assert galaxy["people"] == pytest.approx(tuple(files["truth"].loc[galaxy["id"], own]), abs=1e-6)
            assert galaxy["model"] == pytest.approx(tuple(best.loc[galaxy["id"], own]), abs=1e-6)


def test_calibration(made, best, files):
    numbers = calibration.section(made).facts["curves"].numbers
    bins = (best["2.2"] * 10).astype(int).clip(upper=9)
    expected = pd.DataFrame({"said": best["2.2"], "seen": files["truth"]["2.2"]}).groupby(bins).agg(["mean", "size"])
    mine = numbers[(numbers["column"] == "Class2.2") & (numbers["galaxies"] > 0)].set_index("bin")
    np.testing.assert_allclose(mine["predicted"], expected["said"]["mean"], atol=1e-6)
    np.testing.assert_allclose(mine["observed"], expected["seen"]["mean"], atol=1e-6)
    np.testing.assert_array_equal(mine["galaxies"], expected["seen"]["size"])


def test_intervals_of_a_fold_are_calibrated_on_the_others(made, files):
    """200 galaxies calibrate: the 181st smallest of their residuals holds 90 % of those of others."""
    held = {}
    fold = made.board.fold_of
    for column in files["truth"]:
        off = (files[made.board.best("ensemble").name][column] - files["truth"][column]).abs().to_numpy()
        half = np.array([np.sort(off[fold != k])[180] for k in fold])
        held[column] = off <= half + 1e-9
    section = intervals.section(made)
    numbers = section.facts["drawn"].numbers
    for number in QUESTIONS:
        expected = np.mean([held[column] for column in columns_of(number)])
        assert numbers["held"][number - 1] == pytest.approx(expected, abs=1e-3)
    assert 0.88 < section.facts["coverage"].overall < 0.92
    assert f"hold {100 * section.facts['coverage'].overall:.1f} % of the votes" in section.finding


def test_coverage_by_volunteers_counts_every_answer_by_its_question(made, files):
    numbers = intervals.section(made).facts["reached"].numbers
    truth = files["truth"]
    counted = np.concatenate([
        np.repeat(44 * (truth[PARENTS[number]] if number in PARENTS else truth["1.1"] * 0 + 1), count)
        for number, count in QUESTIONS.items()
    ])  # fmt: skip
    voted = numbers[numbers["by"] == "as they voted"]
    assert voted["answers"].sum() == counted.size
    assert (voted["volunteers"] * voted["answers"]).sum() == pytest.approx(counted.sum(), rel=1e-5)
    assert voted["volunteers"].is_monotonic_increasing


def test_the_confidence_of_the_class_is_compared_where_votes_are_clear(made, best, files):
    facts = intervals.section(made).facts
    true = labelled(files["truth"])
    of_ensemble = files[made.board.best("ensemble").name].loc[true.index]
    own = of_ensemble[[list(rule)[-1] for rule in CLASSES.values()]]
    share, right = own.max(axis=1) / own.sum(axis=1), answered(of_ensemble) == true
    bins = (10 * share).astype(int).clip(upper=9)
    by_hand = sum(abs((share - right)[bins == i].sum()) for i in range(10)) / len(true)
    assert facts["voted"] == len(true)
    assert facts["errors"][0] == pytest.approx(by_hand, abs=1e-3)
    assert facts["errors"][1] < facts["errors"][0]


def test_deferral(made, best, files):
    errors = ((best - files["truth"]) ** 2).mean(axis=1)
    spread = np.sqrt(((files["vgg16"] - files["efficientnetb0"]) ** 2).mean(axis=1) / 4)
    numbers = calibration.section(made).facts["deferral"].numbers.set_index("deferred")
    kept = spread.sort_values().index[: len(spread) - round(0.2 * len(spread))]
    assert numbers.loc[0.2, "the spread of the runs"] == pytest.approx(np.sqrt(errors[kept].mean()), rel=1e-4)
    limit = numbers["their true error (the limit)"]
    assert (numbers.drop(columns=limit.name).ge(limit - 1e-12, axis=0)).all(axis=None)


def test_members_and_correlation(made, files):
    final = next(e for e in training.ensembles(made) if e["name"] == "final")
    errors = {run: (files[run] - files["truth"]).to_numpy().ravel() for run in ("vgg16", "efficientnetb0")}
    a, b = errors.values()
    assert final["correlation"][0][1] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), rel=1e-5)
    by_run = {member["run"]: member["gain"] for member in final["members"]}
    whole = np.sqrt(((made.board.best("ensemble").predicted - made.board.truth) ** 2).mean())
    without = np.sqrt((a @ a) / len(a))  # what is left without efficientnetb0
    assert by_run["efficientnetb0"] == pytest.approx(without - whole, abs=1e-3)
    assert by_run["efficientnetb0"] > by_run["vgg16"]


def test_pairs_and_rows(made):
    against = {pair["entry"].name: pair["verdict"] for pair in leaderboard_table.pairs(made)["rows"]}
    assert against["mean"] == against["vgg16"] == "worse"
    assert "efficientnetb0" not in against
    assert [row["name"] for row in leaderboard_table.rows(made) if row["pinned"]] == ["ridge"]


def test_galleries(made, best, files):
    errors = ((best - files["truth"]) ** 2).mean(axis=1).sort_values(ascending=False)
    by_title = {gallery["title"]: gallery["galaxies"] for gallery in galleries.section(made).facts["galleries"]}
    assert [galaxy["id"] for galaxy in by_title["Largest error"]] == errors.index[: galleries.SHOWN].tolist()
    true, said = labelled(files["truth"]), answered(best)
    for galaxy in by_title["Confident and right"]:
        assert true[galaxy["id"]] == said[galaxy["id"]]
    for galaxy in by_title.get("Confident and wrong", []):
        assert true[galaxy["id"]] != said[galaxy["id"]]
    aside = galleries.set_aside(made)
    assert [item["split"] for item in aside] == ["train"]


def test_without_insight_the_section_says_so(made):
    section = feature_maps.section(made)
    assert set(section.facts["missing"]) == {"vgg16", "efficientnetb0"}
    assert section.figures == ()


def test_stages_have_their_times_and_memory(made):
    stages = {stage["stage"]: stage for stage in provenance.by_stage(made)}
    assert stages["train"]["seconds"] == 2 * (10 + 11 + 12) + 2 * 5  # and the features of two runs
    assert stages["train"]["memory"] > 10e6
    digests = provenance.section(made).facts["digests"]
    assert digests["ensembles/final"] == made.store.ensemble("final").digest()


def test_features_that_group_by_class_are_told_from_those_that_do_not(made):
    classes = made.classes[0]
    rng = np.random.default_rng(0)
    apart = np.eye(6)[classes] + 0.01 * rng.standard_normal((len(classes), 6))
    arrays = {"feature_ids": made.board.ids, "features": apart}
    alike, chance = feature_maps.same_class(made, arrays)
    mixed, _ = feature_maps.same_class(made, arrays | {"features": rng.standard_normal(apart.shape)})
    assert alike > 0.9
    assert mixed == pytest.approx(chance, abs=0.1)


def test_two_galaxies_a_class_are_shown_with_those_most_like_them(made):
    features = np.random.default_rng(0).standard_normal((len(made.board.ids), 5))
    lines = feature_maps.neighbours(made, {"feature_ids": made.board.ids, "features": features})
    queries = [line["query"]["id"] for line in lines]
    assert len(set(queries)) == len(queries)
    assert set(Counter(line["class"] for line in lines).values()) <= {1, 2}
    assert len(lines) > len(set(made.classes[0][made.classes[0] >= 0]))
    assert not any(query in [one["id"] for one in line["found"]] for query, line in zip(queries, lines, strict=True))


def test_every_map_is_shown_from_its_own_darkest_to_its_brightest():
    faint = np.array([[0.2, 0.2], [0.2, 0.21]], np.float16)
    np.testing.assert_allclose(feature_maps.stretched(faint), [[0, 0], [0, 1]], atol=1e-6)
    np.testing.assert_array_equal(feature_maps.stretched(np.full((2, 2), 0.7)), np.zeros((2, 2)))


def test_the_data_are_counted(made, files):
    truth = files["truth"]
    balance = votes.class_balance(GZ2, made.board.truth).numbers.set_index("class")["galaxies"]
    expected = labelled(truth).value_counts()
    assert balance.drop("no clear votes").to_dict() == {name: expected.get(name, 0) for name in CLASSES}
    assert balance.sum() == len(truth)
    spread = votes.distributions(GZ2, made.board.truth).numbers
    asked = (truth["1.1"] >= 0.5).sum()
    assert spread.loc[spread["column"] == "Class7.1", "galaxies"].sum() == asked
    together = votes.correlation(GZ2, made.board.truth).numbers.set_index("column")
    assert together.loc["Class1.1", "Class1.2"] == pytest.approx(truth["1.1"].corr(truth["1.2"]))
    lines = votes.clearest(GZ2, made.thumbnails, made.store.load_labels(), 7, count=4)
    assert lines.shape == (3 * 130 - 2, 4 * 130 - 2, 3)


def test_names_of_the_chart_of_costs_stand_beside_their_points(made, monkeypatch):
    """Also where a baseline far below stretches the axes."""
    from matplotlib.figure import Figure

    seen = []

    def draw(name, alt, numbers, on, **_):
        canvas = Figure(figsize=(7.6, 2.9))
        on(panels := canvas.subplots(1, 2).ravel().tolist())
        canvas.draw_without_rendering()
        seen.append((numbers, panels))

    monkeypatch.setattr(leaderboard_table, "draw", draw)
    low = replace(made.board.best("baseline"), errors=made.board.entries[0].errors * 0.5)
    leaderboard_table.cost_figure([entry for entry in made.board.entries if entry.kind != "baseline"], low)
    ((numbers, panels),) = seen
    for axes, key in zip(panels, ("train_seconds", "images_per_second"), strict=True):
        for _, row in numbers.iterrows():
            (text,) = [text for text in axes.texts if text.get_text() == row["name"]]
            across, up = axes.transData.transform((row[key], row["rmse"]))
            box = text.get_window_extent()
            assert min(abs(box.x0 - across), abs(box.x1 - across)) < 15
            assert abs((box.y0 + box.y1) / 2 - up) < 20  # moved apart where they would lie on each other
