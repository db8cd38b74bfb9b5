"""Measurements behind the figures of the README and the docs: one module a claim, one dated result file each."""

from dreambooth.support.libraries import quiet_libraries

quiet_libraries()
