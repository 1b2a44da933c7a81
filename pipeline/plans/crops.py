"""Crops: the central part of an image, resized."""

from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_serializer, model_validator

from pipeline.plans.strict import Strict

IMAGE_SIDE = 424  # pixels of the competition's images, which a crop's `region` counts
SMALLEST_REGION = 16  # pixels


def _region(value: Any) -> int | float:
    """A whole number of pixels, or a share of the side; ValueError for what is neither."""
    if type(value) is int and value >= SMALLEST_REGION:
        return value
    if type(value) is float and 0 < value <= 1:
        return value
    raise ValueError(
        f"expected pixels, a whole number from {SMALLEST_REGION} on, or a share of the side from 0.0 to 1.0"
    )


class Crop(Strict):
    """The central `region` of an image, resized to `size` pixels.

    `region` is a share of the image's side, or a number of the pixels of which that side has `of`: those of the
    competition by default. In images of another side it is as large a part.
    """

    region: Annotated[int | float, PlainValidator(_region)]
    size: int = Field(ge=16, le=IMAGE_SIDE)
    of: int = Field(IMAGE_SIDE, ge=32, le=4096)

    @model_validator(mode="after")
    def _lies_within(self) -> "Crop":
        if self.region > self.of:
            raise ValueError(f"@region: {self.region} is more than the {self.of} pixels of an image's side")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, dump: Any) -> dict[str, Any]:
        """Without `of` where it is the competition's, as records of crops always were."""
        return {key: value for key, value in dump(self).items() if key != "of" or value != IMAGE_SIDE}

    def pixels(self, side: int) -> int:
        """How many pixels of an image of that side it shows."""
        share = self.region * side
        return max(1, round(share if isinstance(self.region, float) else share / self.of))
