"""The source images of a plan, as stage 0 checked them."""

from pipeline.competition import source_files
from pipeline.competition.source_files import Images
from pipeline.errors import UserError
from pipeline.store.artifacts import Store


def open_images(store: Store, split: str) -> Images:
    """The source images of a split; UserError where they are gone or differ from those that stage 0 checked."""
    inputs = store.inputs()
    folder = store.root / inputs.fact("folder", str)
    if folder == store.sky().record_path.parent and store.sky().exists():
        store.sky().verify()
    if not folder.is_dir():
        raise UserError(
            f"the competition's files are no longer in {folder}: give their folder by "
            f"{store.command('inputs', '--input', 'DIR')}"
        )
    images = Images(getattr(source_files.find(folder), split))
    if images.fingerprint() != inputs.fact("spec", dict).get(split):
        images.close()
        raise UserError(f"{images.path} has changed since it was checked: check it again by {store.command('inputs')}")
    return images
