"""The raw images of a plan, as stage 0 checked them."""

from pipeline import competition
from pipeline.artifacts import Store
from pipeline.competition import Images
from pipeline.errors import UserError


def open_images(store: Store, split: str) -> Images:
    """The raw images of a split; UserError where they are gone or are not those that stage 0 checked."""
    record = store.inputs().record()
    folder = store.root / record["folder"]
    if not folder.is_dir():
        raise UserError(
            f"the competition's files are no longer in {folder}: say where they are by "
            f"`./run.sh inputs --plan {store.root.name} --input DIR`"
        )
    images = Images(getattr(competition.find(folder), split))
    if images.fingerprint() != record["spec"][split]:
        images.close()
        raise UserError(
            f"{images.path} has changed since it was checked: check it anew by "
            f"`./run.sh inputs --plan {store.root.name}`"
        )
    return images
