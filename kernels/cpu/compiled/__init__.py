"""Kernels, and what they are made of, in the Python that numba compiles.

`harmony.kernels.cpu.loading` finds them by name, and imports them only where their code is not kept yet: it
is numba that takes long to import. What Python itself needs to call a kernel stands in the package above.
"""
