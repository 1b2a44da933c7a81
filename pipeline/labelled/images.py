"""Images of the user's galaxies by their ids: JPEG, PNG or FITS, in a folder, zip or tar, or at paths."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.catalogue import images, pixels
from pipeline.competition.image_set import Id, ImageSet
from pipeline.errors import DamagedImage, UserError
from pipeline.labelled.folder import Folder
from pipeline.plans.crops import Crop
from pipeline.store.label_table import plain_id


class LabelledImages(ImageSet):
    """The user's images of some galaxies, in a source of any kind."""

    def __init__(self, source: images.Source, names: dict[Id, str]):
        """`names` are those of the source."""
        self.source, self.names = source, names
        ids = sorted(names)
        self.ids = np.array(ids, np.int64 if all(isinstance(one, int) for one in ids) else str)

    def read(self, galaxy: Id) -> bytes:
        """See ImageSet."""
        return self.source.read(self.names[plain_id(galaxy)])

    @staticmethod
    def cut(data: bytes, crops: Sequence[Crop], targets: Sequence[np.ndarray]) -> None:
        """See ImageSet."""
        pixels.cut(data, crops, targets)

    def sizes(self) -> Iterator[tuple[Id, int, None]]:
        """See ImageSet; there are no checksums."""
        return ((galaxy, self.source.size(name), None) for galaxy, name in self.names.items())

    def _lines(self) -> Iterator[str]:
        size, names = self.source.size, self.names.items()
        return (f"{galaxy} {name.rpartition('/')[2]} {size(name)}" for galaxy, name in names)


class Paths:
    """Images at paths on this machine, told from a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def find(self, name: str) -> str:
        """The name itself; DamagedImage where there is no such file."""
        if "://" in name:
            raise UserError(f"{name}: images to train on are read many times: download them, and name their folder")
        if not name or not (self.folder / name).is_file():
            raise DamagedImage("is not there")
        return name

    def read(self, name: str) -> bytes:
        """The bytes of one image; DamagedImage where it cannot be read."""
        from pipeline.catalogue import image_files

        return image_files.decompressed(image_files.read(self.folder / name))

    def size(self, name: str) -> int:
        """Bytes of one image."""
        return (self.folder / name).stat().st_size

    def names(self) -> Iterator[str]:
        """Nothing is known of others."""
        return iter(())


def open_source(files: Folder, *, named: bool) -> images.Collection | Paths:
    """Where images lie: in their folder or archive, else where the table's names lead to, from its own folder."""
    if files.images is None and named:
        return Paths(files.place)
    return images.open_source(str(files.images or files.place))


def matched(source: images.Collection | Paths, ids: list[Id], names: list[str] | None) -> dict[Id, str]:
    """The names in the source of those galaxies that have an image there."""
    found = {}
    for galaxy, name in zip(ids, names or map(str, ids), strict=True):
        try:
            found[galaxy] = source.find(name)
        except DamagedImage:
            continue
    return found
