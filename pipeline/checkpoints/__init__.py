"""Weights files of PyTorch's world as arrays, and where their tensors stand in Keras's networks. No Keras, no torch."""
