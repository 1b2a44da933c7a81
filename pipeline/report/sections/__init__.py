"""The sections of the report: each module computes what templates/sections/<section's name>.html.jinja shows."""
