"""The report's page: a module per section computes its numbers, a template of the same name lays them out."""
