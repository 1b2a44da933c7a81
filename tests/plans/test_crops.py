"""Crops in pixels of any image, or as a share of its side; and records of crops as they always were."""

import pytest

from pipeline.errors import UserError
from pipeline.plans.config import load_plan
from pipeline.plans.crops import Crop
from pipeline.plans.label_table import LabelTable
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from tests.builders.galaxy_zoo_2 import GZ2

PLAN = """
{head}
[crops.a]
{crop}
[[runs]]
name = "a"
backbone = "vgg16"
crop = "a"
head_phase = {{ epochs = 1 }}
[[ensembles]]
name = "e"
runs = ["a"]
"""


def written(tmp_path, crop: str = "region = 256\nsize = 64", head: str = ""):
    path = tmp_path / "mine.toml"
    path.write_text(PLAN.format(crop=crop, head=head))
    return load_plan(str(path))


def test_a_region_is_the_same_part_of_images_of_every_side():
    assert [Crop(region=256, size=64).pixels(side) for side in (424, 848, 106)] == [256, 512, 64]
    assert [Crop(region=0.75, size=64).pixels(side) for side in (424, 64)] == [318, 48]
    assert [Crop(region=48, size=32, of=64).pixels(side) for side in (64, 128)] == [48, 96]


def test_records_of_crops_are_as_they_always_were():
    assert Crop(region=256, size=64).model_dump() == {"region": 256, "size": 64}
    for crop in (Crop(region=0.5, size=64), Crop(region=48, size=32, of=64)):
        assert Crop.model_validate(crop.model_dump()) == crop


@pytest.mark.parametrize(
    ("crop", "said"),
    [
        ("region = 500\nsize = 64", "500 is more than the 424 pixels of an image's side"),
        ("region = 80\nsize = 64\nof = 64", "80 is more than the 64 pixels"),
        ("region = 4\nsize = 64", "region: 4: expected pixels, a whole number from 16 on, or a share"),
        ("region = 1.5\nsize = 64", "region: 1.5: expected pixels"),
        ('region = "all"\nsize = 64', "region: 'all': expected pixels"),
    ],
)
def test_impossible_regions_are_told(tmp_path, crop, said):
    with pytest.raises(UserError, match=said):
        written(tmp_path, crop)


def test_labels_are_found_beside_the_plan_and_mistakes_told_before_any_work(tmp_path):
    with pytest.raises(UserError, match="no label schema 'nothing': give one of galaxy-zoo-2"):
        written(tmp_path, head='labels = "nothing"')
    with pytest.raises(UserError, match=r"there is no label schema /.*/mine/rings.toml$"):
        written(tmp_path, head='labels = "mine/rings.toml"')
    (tmp_path / "rings.toml").write_text('kind = "class"\n[[questions]]\nname = "ring"\nanswers = ["yes", "no"]\n')
    assert written(tmp_path, head='labels = "rings.toml"').labels == str(tmp_path / "rings.toml")


@pytest.mark.parametrize("name", ["demo", "competition", "laptop", "smoke"])
def test_no_specification_tells_of_the_competitions_labels(tmp_path, name):
    plan = load_plan(name)
    store = Store(tmp_path / name)
    assert plan.for_schema(GZ2) == plan
    for unit in dependencies.all_units(plan, store):
        assert not {"labels", "schema", "of"} & set(unit.spec)


def test_votes_and_classes_are_learnt_by_their_likelihood(tmp_path):
    schema = LabelTable.model_validate(
        {"kind": "class", "questions": [{"name": "kind", "answers": ["a", "b"]}]}
    ).schema("x")  # fmt: skip
    plan = written(tmp_path).for_schema(schema)
    assert [(run.head, run.loss) for run in plan.runs] == [("tree", "votes")]
