"""The decision tree: facts of the release, sums and round trips."""

import numpy as np
import pytest

from pipeline.core import tree
from pipeline.core.labels import Question, Schema
from pipeline.core.split import dominant_path
from tests.builders.galaxy_zoo_2 import CANDELS, GZ2


def random_fractions(n: int = 200, seed: int = 0) -> np.ndarray:
    return tree.normalise(GZ2, np.random.default_rng(seed).random((n, 37)))


def test_columns_are_those_of_the_label_file():
    assert len(GZ2.columns) == 37
    assert GZ2.columns[:5] == ("Class1.1", "Class1.2", "Class1.3", "Class2.1", "Class2.2")
    assert GZ2.columns[-1] == "Class11.6"
    assert [s.stop - s.start for s in GZ2.slices] == [3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6]


def test_parents_are_those_of_the_published_tree():
    names = [GZ2.columns[p[0]] if p else None for p in GZ2.parents]
    assert max(map(len, GZ2.parents)) == 1
    assert names == [
        None, "Class1.2", "Class2.2", "Class2.2", "Class2.2", None,
        "Class1.1", "Class6.1", "Class2.1", "Class4.1", "Class4.1",
    ]  # fmt: skip


def test_answers_name_columns():
    assert GZ2.texts["Class7.3"] == "cigar-shaped"
    assert GZ2.texts["Class11.6"] == "can't tell how many"
    assert tuple(GZ2.texts) == GZ2.columns


def test_tree_order_settles_a_parent_before_its_children():
    settled = set()
    for columns, parents in tree.in_tree_order(GZ2):
        assert settled.issuperset(parents)
        settled |= set(range(columns.start, columns.stop))
    assert settled == set(range(37))


def test_join_multiplies_along_the_path():
    conditional = np.zeros((1, 37))
    for column, value in {"Class1.2": 0.8, "Class2.2": 0.5, "Class4.1": 0.5, "Class11.2": 0.25}.items():
        conditional[0, GZ2.index[column]] = value
    joined = tree.to_joint(GZ2, conditional)[0]
    assert joined[GZ2.index["Class2.2"]] == pytest.approx(0.4)
    assert joined[GZ2.index["Class4.1"]] == pytest.approx(0.2)
    assert joined[GZ2.index["Class11.2"]] == pytest.approx(0.05)
    assert conditional[0, GZ2.index["Class2.2"]] == 0.5  # the argument is left alone


def test_condition_undoes_join():
    fractions = random_fractions()
    np.testing.assert_allclose(tree.to_joint(GZ2, tree.to_conditional(GZ2, fractions)), fractions, atol=1e-15)


def test_condition_is_zero_where_nobody_was_asked():
    fractions = np.zeros((1, 37))
    fractions[0, GZ2.index["Class1.1"]] = 1
    assert tree.to_conditional(GZ2, fractions)[0, GZ2.slices[1]].tolist() == [0, 0]


def test_reached_is_the_parents_fraction():
    fractions = random_fractions(3)
    assert tree.reached(GZ2, fractions)[:, 0].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(tree.reached(GZ2, fractions)[:, 10], fractions[:, GZ2.index["Class4.1"]])


def test_normalise_makes_every_sum_hold_and_keeps_the_type():
    values = np.random.default_rng(1).normal(0.3, 0.5, (300, 37)).astype(np.float32)
    fractions = tree.normalise(GZ2, values)
    assert fractions.dtype == np.float32
    assert tree.violations(GZ2, fractions).max() < 1e-6
    assert fractions.min() >= 0


def test_normalise_keeps_conditional_fractions_and_shares_equally_where_all_are_zero():
    values = np.zeros((1, 37))
    values[0, :3] = [6, 2, -1]
    fractions = tree.normalise(GZ2, values)[0]
    assert fractions[:5].tolist() == pytest.approx([0.75, 0.25, 0, 0.125, 0.125])


def test_project_makes_every_sum_hold_and_keeps_the_type():
    for spread in (0.01, 0.3, 3):
        values = random_fractions() + np.random.default_rng(1).normal(0, spread, (200, 37))
        fractions = tree.project(GZ2, values.astype(np.float32))
        assert fractions.dtype == np.float32
        assert tree.violations(GZ2, fractions).max() < 2e-6
        assert fractions.min() >= 0


def test_project_leaves_votes_as_they_are():
    conditional = tree.to_conditional(GZ2, random_fractions())
    conditional[:, :3] = [1, 0, 0]  # with zeros, at the edge of the set
    votes = tree.to_joint(GZ2, conditional)
    np.testing.assert_allclose(tree.project(GZ2, votes), votes, atol=1e-12)


def test_project_takes_no_galaxy_further_from_any_votes_and_finds_the_nearest():
    rng = np.random.default_rng(2)
    votes, others = random_fractions(400), random_fractions(400, seed=3)
    guess = votes + rng.normal(0, 0.2, votes.shape)
    made = tree.project(GZ2, guess)
    for truth in (votes, others):
        assert (np.linalg.norm(made - truth, axis=1) <= np.linalg.norm(guess - truth, axis=1) + 1e-5).all()
    # the condition of optimality: from the nearest point, no other point of the set lies towards the guess
    assert ((guess - made) * (others - made)).sum(axis=1).max() < 1e-5


def test_violations_tell_which_sum_is_off_by_how_much():
    fractions = random_fractions(2)
    fractions[1, GZ2.index["Class10.1"]] += 0.1
    off = tree.violations(GZ2, fractions)
    assert off[1, 9] == pytest.approx(0.1)
    assert np.delete(off.ravel(), 20).max() < 1e-12


def test_leading_answers_follow_the_tree():
    smooth = np.zeros((1, 37))
    smooth[0, [0, 16]] = 0.9, 0.7  # smooth, in between
    assert tree.leading_answers(GZ2, smooth).tolist() == [[0, 16, 13]]


def test_answers_are_named_so_that_they_can_stand_alone():
    assert GZ2.labels["Class6.1"] == "something odd"
    assert GZ2.labels["Class11.2"] == "2 arms"
    assert len({label.lower() for label in GZ2.labels.values()}) == 37
    own = Schema("own", "fractions", (
        Question(1, "bar", "bar", ("yes", "no"), ("yes", "no"), ("a", "b"), ()),
        Question(2, "arms", "number of arms", ("1", "many"), ("1", "many"), ("c", "d"), ("a",)),
        Question(3, "size", "size", ("many", "huge"), ("Many", "huge"), ("e", "f"), ()),
    ))  # fmt: skip
    expected = ["bar: yes", "bar: no", "number of arms: 1", "number of arms: many", "size: Many", "huge"]
    assert list(own.labels.values()) == expected
    alone = Schema("own", "class", own.questions[:1])
    assert list(alone.labels.values()) == ["yes", "no"]


def test_the_deviation_of_a_conditional_fraction_is_without_that_of_who_was_asked():
    rng = np.random.default_rng(0)
    conditional = np.concatenate([rng.dirichlet([40] * (p.stop - p.start), 20_000) for p in GZ2.slices], axis=1)
    joint = tree.to_joint(GZ2, conditional)
    mean, deviation = joint.mean(axis=0, keepdims=True), joint.std(axis=0, keepdims=True)
    found = tree.conditional_deviation(GZ2, mean, deviation)
    np.testing.assert_allclose(found[0], conditional.std(axis=0), rtol=0.05)


def test_the_deviation_where_nobody_was_asked_is_0():
    assert not tree.conditional_deviation(GZ2, np.zeros((1, 37)), np.zeros((1, 37))).any()


def candels(n: int, seed: int = 0) -> np.ndarray:
    return tree.normalise(CANDELS, np.random.default_rng(seed).random((n, len(CANDELS.columns))))


def test_as_many_reach_a_question_as_gave_any_of_the_answers_that_lead_to_it():
    """Checked by walking volunteers down the tree one by one."""
    rng, conditional = np.random.default_rng(0), tree.to_conditional(CANDELS, candels(1))[0]
    said = np.zeros((20_000, len(CANDELS.columns)), bool)
    for columns, parents in tree.in_tree_order(CANDELS):
        asked = said[:, parents].any(axis=1) if parents else np.full(len(said), True)
        assert said[:, parents].sum(axis=1).max(initial=0) <= 1, "nobody is asked twice"
        answer = rng.choice(columns.stop - columns.start, len(said), p=conditional[columns]) + columns.start
        said[np.flatnonzero(asked), answer[asked]] = True
    np.testing.assert_allclose(tree.to_joint(CANDELS, conditional[None])[0], said.mean(axis=0), atol=0.02)
    assert tree.violations(CANDELS, said.astype(float)).max() == 0


def test_sums_and_projections_hold_where_several_answers_lead_to_a_question():
    fractions, others = candels(200), candels(200, seed=3)
    assert tree.violations(CANDELS, fractions).max() < 1e-12
    np.testing.assert_allclose(tree.to_joint(CANDELS, tree.to_conditional(CANDELS, fractions)), fractions, atol=1e-15)
    np.testing.assert_allclose(tree.project(CANDELS, fractions), fractions, atol=1e-12)
    guess = fractions + np.random.default_rng(1).normal(0, 0.2, fractions.shape)
    made = tree.project(CANDELS, guess)
    assert tree.violations(CANDELS, made).max() < 2e-6
    assert made.min() >= 0
    assert ((guess - made) * (others - made)).sum(axis=1).max() < 1e-5  # the nearest: see the test of the projection


def test_where_several_answers_lead_to_a_question_its_root_and_its_way_are_known():
    assert CANDELS.roots == (0,) * 17
    assert CANDELS.parents[16] == (0, 1)
    clear = np.zeros((1, len(CANDELS.columns)))
    path = ("t00_smooth_or_featured_a1_features", "t02_clumpy_appearance_a0_yes", "t03_how_many_clumps_a0_1",
            "t07_galaxy_symmetrical_a1_no", "t08_clumps_embedded_larger_object_a0_yes",
            "t16_merging_tidal_debris_a3_neither")  # fmt: skip
    clear[0, [CANDELS.index[f"{column}_frac"] for column in path]] = 1
    assert tree.violations(CANDELS, clear).max() == 0
    assert dominant_path(CANDELS, clear)[0] == "1.2/3.1/4.1/8.2/9.1/17.4"
