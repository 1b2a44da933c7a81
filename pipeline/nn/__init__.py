"""The networks: backend-agnostic Keras 3. Arrays and specs in, arrays out; nothing here knows an output folder."""

from pipeline.nn import runtime as runtime  # first of all: it sets the machine up before TensorFlow is loaded
