"""The label schema of the competition, for tests."""

from pipeline.plans.label_schemas import galaxy_zoo_2

GZ2 = galaxy_zoo_2()
