"""The images of a plan as stage 0 checked them: the competition's, or the user's own."""

from pathlib import Path

from pipeline.competition import source_images
from pipeline.competition.image_set import ImageSet
from pipeline.errors import UserError
from pipeline.labelled import folder, images
from pipeline.labelled.images import LabelledImages
from pipeline.store.artifacts import Store

TRAINED_ON = "train_images"  # in the record of the inputs, where people labelled some of them, or a part is taken


def open_images(store: Store, split: str) -> ImageSet:
    """The source images of a split; UserError where they are gone or differ from those that stage 0 checked."""
    inputs = store.inputs()
    if "schema" not in inputs.required():
        return source_images.open_images(store, split)
    place = Path(inputs.fact("folder", str))
    again = store.command("inputs", "--input", "DIR")
    files = folder.find(place if place.is_absolute() else store.root / place, needs_table=False)
    opened = _training(store, files) if split == "train" else _to_predict(store, files)
    try:
        now = opened.fingerprint()
    except (KeyError, OSError):  # one is gone
        now = None
    checked = inputs.required().get(TRAINED_ON) if split == "train" else None  # not those of the table alone
    if now != (checked or inputs.fact("spec", dict).get(split)):
        raise UserError(f"the {split} images in {place} have changed since they were checked: check them by {again}")
    return opened


def _training(store: Store, files: folder.Folder) -> LabelledImages:
    names = store.load_image_names()
    named = store.inputs().required().get("named", False)
    source = images.open_source(files, named=named)
    return LabelledImages(source, dict(zip(names.index.tolist(), names.tolist(), strict=True)))


def _to_predict(store: Store, files: folder.Folder) -> LabelledImages:
    from pipeline.labelled.inputs import test_images

    return test_images(files.test)
