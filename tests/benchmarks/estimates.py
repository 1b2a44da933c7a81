"""What `plan --estimate` says of a network without timing its steps, against those steps."""

from collections.abc import Iterator
from functools import partial

from pipeline.core import views
from pipeline.nn import small_probe
from pipeline.nn.predict import predict_views
from pipeline.plans.run import Run
from tests.benchmarks.measure import Row, compare, rate
from tests.benchmarks.networks import built_of, galaxies

NETWORKS = (("mobilenetv2", 160), ("efficientnetlite0", 128), ("resnet50", 96), ("efficientnetv2s", 224))
BATCH, PAIRS = 64, 3
NOTE = "it says ± 40 %: 0.6 to 1.4"


def rows(quick: bool) -> Iterator[Row]:
    """Images a second of a forward pass: ours is scaled from small images, the reference real ones."""
    for name, size in NETWORKS[:1] if quick else NETWORKS:
        run = Run.model_validate({"name": name, "backbone": name, "crop": "c", "fine_tune": {"epochs": 1}})
        built, (images, _) = built_of(run, stored=size, size=size), galaxies(BATCH, size)
        real = rate(
            partial(predict_views, built.for_prediction().model, images, views.view_set("single"), BATCH), BATCH
        )
        stage = f"estimated speed of {name}, {size} px"
        yield compare(stage, partial(_told, name, size), real, unit="images/s", goal=">= 0.6", note=NOTE, pairs=PAIRS)


def _told(name: str, size: int) -> float:
    return 1 / (small_probe.measure(name).per_pixel * size**2)
