"""Matching of galaxies to image names, the same for folders, zips and tars."""

import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from pipeline.competition.source_files import normalise_name
from pipeline.errors import DamagedImage

SUFFIXES = (".fits.gz", ".fit.gz", ".fits.fz", ".jpeg", ".jpg", ".png", ".fits", ".fit", ".fts")
ARCHIVES = (".tar", ".zip")
NEAR = 3  # names that an ambiguity is told by


def tidy(name: str) -> str:
    """A name with slashes between its folders, without "./", accents composed (macOS takes them apart)."""
    return unicodedata.normalize("NFC", normalise_name(name))


def suffix_of(name: str) -> str:
    """The suffix of an image, as it is written; "" where there is no known one."""
    return next((name[-len(suffix) :] for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def is_fits(name: str) -> bool:
    """Whether it is the name of a FITS image."""
    return suffix_of(name).lower().startswith((".fit", ".fts"))


def may_be_fits(name: str) -> bool:
    """Whether a name or address does not tell that it is none."""
    return is_fits(name) or not suffix_of(name)


def stem_of(name: str) -> str:
    """A name without the suffix of an image: what stands behind other points belongs to it."""
    return name[: len(name) - len(suffix_of(name))]


def _split(name: str) -> tuple[list[str], str]:
    *folders, last = name.split("/")
    return folders, last


class Index:
    """Tidy names of images, found by exact name, else name + suffix, else the one with that stem."""

    def __init__(self, names: Iterable[str]):
        self._by_stem: dict[str, tuple[str, ...]] = {}
        for name in names:
            stem = stem_of(name.rpartition("/")[2])
            self._by_stem[stem] = (*self._by_stem.get(stem, ()), name)

    def find(self, name: str) -> str:
        """The image that a name or id means: one with its folders, else one in any folder that does not contradict.

        DamagedImage where there is none, or several: both are named.
        """
        if not name:
            raise DamagedImage("has no image in the catalogue")
        wanted = tidy(name)
        if ".." in wanted.split("/"):
            raise DamagedImage("has a name that points outside the images")
        found = self._find(wanted) or self._find(tidy(unquote(name)))
        if not found:
            elsewhere = self._by_stem.get(stem_of(_split(wanted)[1]), ())
            raise DamagedImage(f"is not among the images{f', only {elsewhere[0]} is' if elsewhere else ''}")
        if len(found) > 1:
            raise DamagedImage(f"has {len(found)} images: {' and '.join(found[:NEAR])}")
        return found[0]

    def _find(self, wanted: str) -> list[str]:
        """The images of the first step of the rule that any of them takes."""
        folders, last = _split(wanted)
        near = {*self._by_stem.get(last, ()), *self._by_stem.get(stem_of(last), ())}
        if wanted in near:
            return [wanted]
        absolute = wanted.startswith("/") or wanted[1:2] == ":"  # of another machine: its folders say nothing here
        agreeing = [name for name in near if _agree(folders, _split(name)[0])]
        for among in (agreeing, near if absolute else ()):
            for same in (
                lambda name: stem_of(name) == wanted,
                lambda name: _split(name)[1] == last,
                lambda name: stem_of(_split(name)[1]) == last,
                lambda name: True,
            ):
                if found := sorted(filter(same, among)):
                    return found
        return []


def _agree(wanted: list[str], there: list[str]) -> bool:
    """Whether one path of folders is the end of the other; archives count as folders for who names one."""
    if not any(map(_is_archive, wanted)):
        there = there[max((i + 1 for i, folder in enumerate(there) if _is_archive(folder)), default=0) :]
    both = min(len(wanted), len(there))
    return not both or wanted[-both:] == there[-both:]


def _is_archive(folder: str) -> bool:
    return folder.lower().endswith(ARCHIVES)
