"""Synthetic galaxies in the competition's own format: the data that the demo plan trains on.

galaxy.py    what a galaxy is: physical parameters, and the population they are drawn from
profiles.py  how light is spread: Sersic bulges, discs, bars, arms, rings; arrays in, arrays out
starlight.py populations of stars and their colours
disc.py      disc galaxies: bulge, disc, bar, arms, dust
oddities.py  rings, lensed arcs, tails, mergers, clumps
render.py    one galaxy -> its light in three bands -> its picture
camera.py    light -> the picture the survey took: seeing, stars, noise, colour stretch, JPEG
votes.py     one galaxy -> 37 vote fractions of simulated volunteers
survey.py    many galaxies -> the competition's zip files
"""

from pipeline.sky.survey import draw

__all__ = ["draw"]
