"""Unlabelled galaxies: catalogues, their images, and the table of predictions."""
