"""Measurements behind the figures of the README and the docs: one module a claim, one dated result file each."""
