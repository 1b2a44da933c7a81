"""A trained ensemble from Python: images in, the table of `classify` out, as a frame.

from pipeline.catalogue.classifier import Classifier

classifier = Classifier.load("output/laptop/ensembles/final")
frame = classifier.predict("cutouts/")
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.catalogue import columns, images
from pipeline.catalogue.classify_worker import ClassifyWorker
from pipeline.catalogue.galaxies import Galaxies, ids_of
from pipeline.errors import UserError
from pipeline.models.classifier import view_set_of
from pipeline.models.training_galaxies import UNLIKE
from pipeline.store.environment import environment

Image = bytes | str | Path | np.ndarray  # a file's content, its path or address, or pixels uint8 (h, w, 3) RGB


class Classifier:
    """An ensemble that is loaded once; made by `load`."""

    def __init__(self, worker: ClassifyWorker):
        self._worker = worker
        self.caveats: list[str] = worker.classifier.caveats  # to know before its answers are used

    @classmethod
    def load(cls, ensemble: str | Path, views: str | int | None = None, intervals: float | None = None) -> "Classifier":
        """The ensemble at OUTPUT/PLAN/ensembles/NAME; its caveats are logged. UserError where it cannot be used.

        `views` averaged per galaxy, by name or number; None: as trained. `intervals`: the share of the answers that
        intervals are to hold, such as 0.9, whose columns are then in the table; None: without.
        """
        view_set = view_set_of(None if views is None else str(views))
        if intervals is not None and not 0 < intervals < 1:
            raise UserError(f"intervals: expected a share between 0 and 1, such as 0.9, received {intervals}")
        worker = ClassifyWorker(Path(ensemble), view_set, Given([]), intervals)
        worker.classifier.log_caveats("classify")
        return cls(worker)

    def predict(self, images: str | Path | np.ndarray | Sequence[Image], ids: Sequence | None = None) -> pd.DataFrame:
        """One row per image in the columns of `classify`; how it was made is in `attrs`.

        `images`: a folder, zip or tar of them (or a catalogue that names them), pixels uint8 (n, h, w, 3) RGB, or a
        list of files' contents, paths or addresses, or pixels. Ids default to the files' names, else to 0 … n - 1. An
        image that cannot be used is a row with a reason. UserError for what are no images.
        """
        parts = list(self._of_place(images, ids) if isinstance(images, str | Path) else self._of_list(images, ids))
        frame = pd.concat(parts, ignore_index=True)
        frame.attrs |= {"ensemble": self._worker.classifier.name, "code": environment()["code"]}
        frame.attrs |= {"colvers": columns.VERSION, "caveats": self.caveats}
        if self._worker.compares:
            frame.attrs["unlike"] = int(frame["caveat"].str.contains(UNLIKE, regex=False).sum())
        return frame

    def _of_place(self, place: str | Path, ids: Sequence | None) -> Iterator[pd.DataFrame]:
        if ids is not None:
            raise UserError(f"ids go with a list of images; those of {place} are told by its files")
        galaxies = Galaxies(place, None, {})
        galaxies.survey(self._worker.classifier.schema)
        self._worker.source = images.open_source(galaxies.where)
        yield from (self._worker.answers(batch)[0] for batch in galaxies.batches())

    def _of_list(self, given: Sequence[Image], ids: Sequence | None) -> Iterator[pd.DataFrame]:
        self._worker.source = Given(given)
        names, ids = list(self._worker.source.names()), _ids(given) if ids is None else list(ids)
        if not names:
            raise UserError("expected at least one image, not an empty list")
        if len(ids) != len(names):
            raise UserError(f"expected as many ids as images, not {len(ids)} for {len(names)}")
        yield self._worker.answers(pd.DataFrame({"id": pd.Series(ids, dtype=object), "image": names}))[0]


class Given:
    """Images from Python as a source; their names are their places in the list. UserError where one is no image."""

    def __init__(self, given: Sequence[Image]):
        self._given, self._files = given, images.open_source(None)
        for i, image in enumerate(given):
            _check(i, image)

    def read(self, name: str) -> bytes:
        """See images.Source; pixels as a PNG, which keeps them."""
        image = self._given[int(name)]
        if isinstance(image, np.ndarray):
            return cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
        return self._files.read(str(image)) if isinstance(image, str | Path) else image

    def stamp(self, name: str) -> int:
        """See images.Source: there is nothing to resume."""
        return 0

    def names(self) -> Iterator[str]:
        """See images.Source."""
        return map(str, range(len(self._given)))


def _check(i: int, image: Image) -> None:
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            return
        received = f"{image.dtype} {image.shape}"
    elif isinstance(image, bytes | str | Path):
        return
    else:
        received = type(image).__name__
    raise UserError(
        f"image {i}: expected a path, the bytes of a JPEG, PNG or FITS file, or pixels uint8 (height, width, 3) RGB, "
        f"received {received}"
    )


def _ids(given: Sequence[Image]) -> list:
    """The names of files, made unique as `classify` does; places in the list where not all are files."""
    if all(isinstance(image, str | Path) for image in given):
        return ids_of([str(image) for image in given], Path())
    return list(range(len(given)))
