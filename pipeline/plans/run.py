"""A run of a plan: every key of [[runs]] and [defaults], with its default and meaning."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.plans import consistency
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.crops import IMAGE_SIDE
from pipeline.plans.strict import Strict

VIEW_SETS = ("single", "flips4", "dihedral8", "rotations16", "rotations32", "dihedral8-zoom3")
POLICIES = ("none", "rand-augment", "cutout", "color-jitter")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
StartFrom = Annotated[str, AfterValidator(consistency.start)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Augment(Strict):
    """Ranges of the one random affine warp that a training image gets, and a KerasCV policy before it."""

    rotation: float = Field(180.0, ge=0, le=180)  # degrees either way
    zoom: float = Field(1.2, ge=1, le=3)  # factor, log-uniform in [1/zoom, zoom]
    shift: float = Field(0.04, ge=0, le=0.5)  # of the half side
    flip: bool = True
    policy: Literal[POLICIES] = "none"


class HeadPhase(Strict):
    """First phase: the head alone, on the frozen backbone's features, computed once.

    They are the mean over the run's views where this is all that is trained, of one view where fine-tuning follows.
    """

    epochs: int = Field(0, ge=0)
    learning_rate: Rate = 3e-4


class FineTune(Strict):
    """Second phase: the backbone from a chosen layer on, and the head, on randomly warped images."""

    epochs: int = Field(0, ge=0)
    learning_rate: Rate = 3e-4
    from_layer: str = "first"  # name of a layer of the backbone; "first": all of it
    batch_norm: Literal["inference", "train"] = "inference"
    warmup: Fraction = 0.1  # share of the steps
    ema: Fraction = 0.99  # momentum of the moving average of the weights; 0 switches it off
    patience: int = Field(0, ge=0)  # epochs without a better fold RMSE before stopping; 0: never stop early
    layer_decay: Rate = 1.0  # factor of the learning rate from a twelfth of the backbone to the one before; 1: none
    drop_path: Fraction | None = None  # chance to leave out the last residual block; None: as the backbone is built

    ADDED: ClassVar[tuple[str, ...]] = ("layer_decay", "drop_path")


class Run(Strict):
    """One model: a backbone on a crop, trained once per fold."""

    name: Name
    backbone: Literal[tuple(BACKBONES)]
    crop: Name
    input_size: int | None = Field(None, ge=32, le=IMAGE_SIDE)  # pixels the network sees; None: the whole crop
    pooling: Literal["avg", "max", "multi"] = "avg"  # "multi": statistics of every resolution, not only the last
    head: Literal["sigmoid", "tree"] = "sigmoid"
    hidden: int = Field(0, ge=0)  # units of a dense layer before the answers; 0: none
    dropout: Fraction = 0.2
    loss: Literal["mse", "bce", "votes"] = "mse"  # "votes": their likelihood along the tree; needs head = "tree"
    weight_decay: float = Field(1e-4, ge=0)
    batch_size: int = Field(32, ge=1)
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"  # float32 on CPUs
    first_weights: Literal["imagenet", "random"] = "imagenet"  # "random": to see what pretraining is worth
    on_missing_weights: Literal["error", "random"] = "error"
    # an earlier run, whose network of the same fold a fold goes on with; or a run or ensemble of another output,
    # OUTPUT/PLAN/runs/NAME, whose backbone of the same fold it starts from, with a new head
    start_from: StartFrom | None = None
    head_phase: HeadPhase = HeadPhase()
    fine_tune: FineTune = FineTune()
    augment: Augment = Augment()
    views: Literal[VIEW_SETS] = "dihedral8"

    ADDED: ClassVar[tuple[str, ...]] = ("first_weights",)

    @model_validator(mode="after")
    def _trains(self) -> "Run":
        if not self.head_phase.epochs and not self.fine_tune.epochs:
            raise ValueError("trains nothing: give head_phase.epochs or fine_tune.epochs")
        if self.loss == "votes" and self.head != "tree":
            raise ValueError('loss = "votes" is the likelihood along the tree: it needs head = "tree"')
        if self.starts_elsewhere and self.first_weights == "random":
            raise ValueError('start_from and first_weights = "random" exclude each other')
        if self.start_from and not self.starts_elsewhere and self.head_phase.epochs:
            raise ValueError("start_from brings the other run's head along: it needs head_phase.epochs = 0")
        if self.fine_tune.drop_path is not None and BACKBONES[self.backbone].drop_path is None:
            able = ", ".join(name for name, row in BACKBONES.items() if row.drop_path is not None)
            raise ValueError(
                f"fine_tune.drop_path: {self.backbone} has no residual blocks that can be left out while training; "
                f"these have: {able}"
            )
        return self

    @property
    def starts_elsewhere(self) -> bool:
        """Whether its backbone comes from a run of another output."""
        return self.start_from is not None and "/" in self.start_from

    @property
    def needs_imagenet(self) -> bool:
        """Whether its backbone begins with ImageNet's weights, or those of a given file."""
        return self.first_weights == "imagenet" and not self.starts_elsewhere

    @property
    def keeps_features(self) -> bool:
        """Whether its head is trained on features of its backbone that all folds share."""
        return bool(self.head_phase.epochs) and not self.starts_elsewhere

    @property
    def shares_backbone(self) -> bool:
        """Whether all folds have the same backbone, of which features need to be computed but once."""
        return not self.fine_tune.epochs and not self.starts_elsewhere
