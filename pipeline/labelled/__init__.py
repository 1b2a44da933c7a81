"""The user's own labelled galaxies: a table of any format, images of any format and place, a schema or none."""
