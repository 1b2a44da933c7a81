"""Where no image at all could be read: what was tried, in one sentence, and nothing left of the attempt."""

import pyarrow.parquet as pq

from pipeline.catalogue import images
from pipeline.catalogue.pixels import BEYOND
from pipeline.catalogue.target import ShardPlan
from pipeline.errors import UserError

EXAMPLES = 3


def refuse_all_unread(plan: ShardPlan) -> None:
    """UserError, after the shards were deleted, where they hold reasons only: the mended command starts afresh."""
    facts = plan.facts()
    if facts["unread"] < facts["galaxies"]:
        return
    told = "; ".join(_examples(plan))
    plan.delete_shards()
    angular = any(word in told for word in (BEYOND, "radius"))
    look = (
        "Look at the columns of the radius and the pixel scale and at their units (--radius-column, "
        "--pixel-scale-column), or take images as they are by --whole-images"
        if angular
        else "Look at --images, at the column of images (--image-column), and whether the images are JPEG, PNG or FITS"
    )
    raise UserError(f"not one of {facts['galaxies']:,} images could be {'used' if angular else 'read'}: {told}. {look}")


def _examples(plan: ShardPlan) -> list[str]:
    """The first galaxies, where their images were looked for, and why they could not be read."""
    galaxies = next(plan.galaxies.batches()).head(EXAMPLES)
    reasons = pq.read_table(plan.target.shard(0).verified(), columns=["reason"]).column("reason").to_pylist()
    places = [images.place_of(plan.galaxies.where, name) for name in galaxies["image"]]
    rows = zip(galaxies["id"], places, reasons, strict=False)
    return [f"galaxy {name} ({place}) {reason}" for name, place, reason in rows]
