"""The search space of a run: the [search] table of a plan."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.plans.strict import Strict

TABLES = {
    "head_phase": ("epochs", "learning_rate"),
    "fine_tune": ("epochs", "learning_rate", "from_layer", "batch_norm", "warmup", "ema", "layer_decay", "drop_path"),
    "augment": ("rotation", "zoom", "shift", "flip", "policy"),
}
SETTINGS = (  # of a run that may be searched
    *("crop", "input_size", "pooling", "head", "hidden", "dropout", "loss", "weight_decay", "batch_size"),
    *(f"{table}.{key}" for table, keys in TABLES.items() for key in keys),
)


class Setting(Strict):
    """The values that one setting may take: a range, or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False  # as likely between 0.001 and 0.01 as between 0.01 and 0.1
    choices: tuple[bool | int | float | str, ...] = ()

    @model_validator(mode="after")
    def _is_one(self) -> "Setting":
        ranged = self.low is not None and self.high is not None
        if (
            "choices" in self.model_fields_set
            and self.low is None
            and len(set(self.choices)) < max(2, len(self.choices))
        ):
            raise ValueError("choices: expected two or more, each once")
        if ranged == bool(self.choices) or (self.low is None) != (self.high is None):
            raise ValueError("expected low and high, or choices")
        if ranged and not self.low < self.high:
            raise ValueError(f"low is {self.low}, high is {self.high}: expected low to be below high")
        if self.log and not (ranged and self.low > 0):
            raise ValueError(f"log needs low to be above 0; it is {self.low}")
        return self

    def ends(self) -> tuple[Any, ...]:
        """The values that its run must be able to have."""
        return self.choices or (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value is one of those."""
        return value in self.choices if self.choices else self.low <= value <= self.high


class Search(Strict):
    """The search space, pruner and comparison."""

    space: dict[str, Setting] = Field(min_length=1)
    pruner: Literal["median", "hyperband", "none"] = "median"  # how unpromising trials are stopped after a fold
    galaxies: int | None = Field(None, ge=100)  # that a trial sees, the same for all trials; None: all there are
    repeats: int = Field(3, ge=1)  # fresh folds (and galaxies) on which the best is compared with the run as it stands

    @field_validator("space")
    @classmethod
    def _known(cls, value: dict[str, Setting]) -> dict[str, Setting]:
        if unknown := [key for key in value if key not in SETTINGS]:
            raise ValueError(f"{unknown[0]!r} cannot be searched; these can: {', '.join(SETTINGS)}")
        return value
