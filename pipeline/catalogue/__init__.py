"""Galaxies that nobody has voted on: catalogues, where their images lie, and the table of answers."""
