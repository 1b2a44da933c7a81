"""Layer-wise decay of the learning rate: the nearer a layer is to the image, the smaller its steps.

Clark et al. 2020, arXiv:2003.10555. The backbone's blocks are divided into twelve groups, as ConvNeXt's authors divide
theirs (Liu et al. 2022, arXiv:2201.03545). The head, and what follows the last block, has the full rate.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from pipeline.errors import UserError

GROUPS = 12
BLOCK = re.compile(r"(.*stage_\d+_block_\d+|conv\d+_block\d+|block_?\d+[^_]?|expanded_conv(_\d+)?)_")


class LayerwiseAdamW(keras.optimizers.Adam):
    """AdamW in which each variable has a learning rate of its own, in the step and in the decay of the weight.

    It is not the gradient that is scaled: Adam divides by the gradient's size, so that a factor of it cancels out.
    """

    def __init__(self, learning_rate: Any, decay: float, factors: Sequence[float], **more: Any):
        """`factors`: of the learning rate, for the variables that it will be built for, in their order."""
        super().__init__(learning_rate, **more)
        self.decay, self.factors = decay, tuple(factors)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay of the weight and Adam's step, both at the variable's own learning rate."""
        rate = ops.cast(learning_rate, variable.dtype) * self.factors[self._get_variable_index(variable)]
        self.assign_sub(variable, ops.multiply(variable, self.decay * rate))
        super().update_step(gradient, variable, rate)


def factors(backbone: keras.Model, variables: Sequence[keras.Variable], decay: float) -> list[float]:
    """Factor of the learning rate of each variable: decay ** (groups between it and the head); 1 for the head's."""
    below = steps_below_head(backbone)
    steps = {id(variable): below[layer.name] for layer in backbone.layers for variable in layer.variables}
    return [decay ** steps.get(id(variable), 0) for variable in variables]


def steps_below_head(backbone: keras.Model) -> dict[str, int]:
    """Layer -> 0 after the last block, 1 in the last group of blocks, and so on; what precedes a block goes with it.

    UserError where no layer is named after a block.
    """
    blocks = [found[1] if (found := BLOCK.match(layer.name)) else None for layer in backbone.layers]
    order = list(dict.fromkeys(block for block in blocks if block))
    if not order:
        raise UserError(
            f"fine_tune.layer_decay: the layers of {backbone.name} are not named after blocks ({BLOCK.pattern}), "
            f"which tell their depth: leave it at 1"
        )
    groups = min(GROUPS, len(order))
    group_of = {block: 1 + i * groups // len(order) for i, block in enumerate(order)}
    made, following = {}, groups + 1
    for layer, block in reversed(list(zip(backbone.layers, blocks, strict=True))):
        following = min(following, group_of[block]) if block else following
        made[layer.name] = groups + 1 - (group_of[block] if block else following)
    stem = next(i for i, block in enumerate(blocks) if block)
    return made | {layer.name: groups + 1 for layer in backbone.layers[:stem]}
