"""Networks in use: first weights, frozen features, predictors, an ensemble as a classifier."""
