"""A file's tensors as the weights of a backbone's layers in Keras, or the reason why they are not."""

from pathlib import Path

from pipeline.checkpoints import convnext, files, lite
from pipeline.checkpoints.convnext import Weights
from pipeline.errors import UserError

KNOWN = dict.fromkeys(convnext.SIZES, convnext.weights) | dict.fromkeys(lite.SCALES, lite.weights)
RESNET = "PyTorch's ResNets stride in another convolution than Keras's: the same weights would answer differently"


def read(path: Path, backbone: str) -> Weights:
    """Weights by the layer's name, without the network's. UserError where the file does not hold this backbone."""
    if backbone not in KNOWN:
        reason = f" ({RESNET})" if backbone.startswith("resnet") else ""
        raise UserError(
            f"{path} is a file of PyTorch's world, which is read for {', '.join(KNOWN)}; expected an HDF5 file of "
            f"Keras's {backbone}{reason}"
        )
    tensors = files.read(path)
    try:
        return KNOWN[backbone](tensors, backbone)
    except UserError as error:
        raise UserError(f"{path} does not hold the weights of {backbone}: {error}") from None
