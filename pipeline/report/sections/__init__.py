"""The sections of the report: each module computes what the template of the same name shows."""
