"""Hyper-parameter search: variants of a run, their evaluation, and the study that samples them."""
