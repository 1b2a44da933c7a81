"""The label schema of the competition, and one in which several answers lead to one question, for tests."""

from pipeline.plans.label_schemas import galaxy_zoo_2, load_schema

GZ2 = galaxy_zoo_2()
CANDELS = load_schema("gz-candels")
