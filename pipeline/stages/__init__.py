"""The stages of a run, in this order: inputs folds crops baselines train predict insight ensemble submit report."""
