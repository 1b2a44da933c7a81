"""Label schemas: the competition's tree as data, and mistakes in a schema told in one sentence."""

import pytest

from pipeline.core import tree
from pipeline.errors import UserError
from pipeline.plans import label_schemas
from tests.builders.galaxy_zoo_2 import GZ2

RING = """
kind = "class"
[[questions]]
name = "ring"
answers = ["ring", "no ring"]
"""


def table(tmp_path, text: str) -> label_schemas.LabelTable:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return label_schemas.load_table(str(path))


def test_galaxy_zoo_2_has_the_names_of_the_fields_catalogues():
    assert len(set(GZ2.names)) == 37
    assert GZ2.names[0] == "smooth-or-featured_smooth"
    assert GZ2.names[-1] == "spiral-arm-count_cant-tell"
    assert [question.text for question in GZ2.questions][:3] == ["smooth or features", "edge-on", "bar"]
    assert GZ2.class_names[-2:] == ("edge-on", "spiral")
    assert GZ2.classes[4].least == (("Class1.2", 0.430), ("Class2.2", 0.715), ("Class4.1", 0.619))


@pytest.mark.parametrize("name", label_schemas.shipped())
def test_shipped_schemas_are_sound(name):
    """Parents stand before their children, every question is reached, and the source is given."""
    given, schema = label_schemas.load_table(name), label_schemas.load_schema(name)
    assert given.source
    assert len(set(schema.columns)) == len(schema.columns) == schema.slices[-1].stop
    settled = set()
    for columns, parents in tree.in_tree_order(schema):
        assert settled.issuperset(parents)
        settled |= set(range(columns.start, columns.stop))
    assert settled == set(range(len(schema.columns)))
    assert label_schemas.from_record(label_schemas.to_record(schema.name, given)) == schema


def test_one_question_is_plain_classification(tmp_path):
    schema = table(tmp_path, RING).schema("rings")
    assert schema.columns == ("ring_ring", "ring_no ring")
    assert schema.class_names == ("ring", "no ring")
    assert schema.questions[0].source == "ring"


MISTAKES = {
    "an unknown key": (RING + "colour = 1\n", "colour: unknown key; allowed here"),
    "two questions of one name": (RING + RING.partition('"class"')[2], "two are named 'ring'; names must differ"),
    "two answers of one name": (RING.replace("no ring", "ring"), "the answer 'ring' is given twice"),
    "a parent that does not exist": (RING + 'parent = "bar: yes"\n', "'bar: yes' is no \"question: answer\" before it"),
    "its own parent": (RING + 'parent = "ring: ring"\n', "is an answer of the question itself: .* no circle"),
    "a parent that comes later": (
        RING + 'parent = "bar: yes"\n[[questions]]\nname = "bar"\nanswers = ["yes", "no"]\nparent = "ring: ring"\n',
        "is an answer of a later question: .* no circle",
    ),
    "two parents of which both can hold": (
        RING
        + '[[questions]]\nname = "bar"\nanswers = ["yes", "no"]\n[[questions]]\nname = "arms"\nanswers = ["1", "2"]\n'
        'parent = ["bar: yes", "ring: ring"]\n',
        r"questions\[2\].parent: one volunteer may answer both 'bar: yes' and 'ring: ring', and would be asked twice",
    ),
    "a parent and what it leads to": (
        RING + '[[questions]]\nname = "bar"\nanswers = ["yes", "no"]\nparent = "ring: ring"\n[[questions]]\n'
        'name = "arms"\nanswers = ["1", "2"]\nparent = ["bar: yes", "ring: ring"]\n',
        "one volunteer may answer both 'bar: yes' and 'ring: ring'",
    ),
    "one answer": (RING.replace(', "no ring"', ""), "at least 2 items"),
    "an unknown kind": (RING.replace('"class"', '"rating"'), "kind: 'rating' is not one of fractions, votes, class"),
    "columns that repeat": ('columns = "{question}"\n' + RING, "names the column 'ring' twice"),
    "columns of no pattern": ('columns = "{colour}"\n' + RING, "is no pattern of {question}, {answer}"),
    "a class of no answer": (
        RING + '[[classes]]\nname = "x"\nleast = { "ring: yes" = 0.5 }\n',
        "no answer 'ring: yes'",
    ),
    "weights of no classes": (
        'class_weights = "balanced"\n' + RING.replace('"class"', '"votes"'),
        'it needs kind = "class"',
    ),
    "no TOML": ("kind = ", "not a TOML file"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_one_sentence(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_schema_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(
        UserError, match=r"no label schema 'galaxy-zoo': give one of .*galaxy-zoo-2.*; did you mean galaxy-zoo-2\?"
    ):
        label_schemas.load_table("galaxy-zoo")


def test_facts_of_the_surveys():
    """As their papers and tables have them: numbers of questions and answers, and who is asked what."""
    decals = label_schemas.load_schema("gz-decals")
    assert [len(q.answers) for q in decals.questions] == [3, 2, 2, 3, 5, 3, 3, 3, 6, 4]
    assert decals.columns[0] == "smooth-or-featured_smooth"
    assert [q.parents for q in decals.questions][6:] == [
        ("disk-edge-on_yes",), ("has-spiral-arms_yes",), ("has-spiral-arms_yes",),
        ("smooth-or-featured_smooth", "smooth-or-featured_featured-or-disk"),
    ]  # fmt: skip
    candels = label_schemas.load_schema("gz-candels")
    assert len(candels.questions) == 17
    assert candels.columns[0] == "t00_smooth_or_featured_a0_smooth_frac"
    assert candels.columns[-1] == "t16_merging_tidal_debris_a3_neither_frac"
    votes = label_schemas.load_schema("galaxy-zoo-2-votes")
    assert votes.parents == GZ2.parents
    assert [len(q.answers) for q in votes.questions] == [len(q.answers) for q in GZ2.questions]
    assert list(votes.texts.values()) == list(GZ2.texts.values())
    assert votes.columns[22] == "t08_odd_feature_a23_other_count"
    ten = label_schemas.load_schema("galaxy10-decals")
    assert len(ten.columns) == 10
    assert ten.questions[0].answers[int("7")] == "unbarred loose spiral"


def test_words_for_people_do_not_make_another_schema():
    table = label_schemas.load_table("gz-decals")
    recorded = label_schemas.to_record("gz-decals", table)
    worded = table.questions[1].model_copy(update={"text": "seen from the side", "texts": ("indeed", "not at all")})
    other = table.model_copy(update={"questions": (table.questions[0], worded, *table.questions[2:])})
    again = label_schemas.to_record("gz-decals", other)
    assert again != recorded
    assert label_schemas.same_but_for_words(recorded, again)
    named = table.questions[1].model_copy(update={"answers": ("y", "n")})
    changed = table.model_copy(update={"questions": (table.questions[0], named, *table.questions[2:])})
    assert not label_schemas.same_but_for_words(recorded, label_schemas.to_record("gz-decals", changed))
