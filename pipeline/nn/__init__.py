"""The networks: backend-agnostic Keras 3. Arrays and specs in, arrays out; nothing here knows an output folder."""
