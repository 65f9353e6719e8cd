"""Kernels that the lessons from step 27 on launch, and what launching them needs.

Nothing is imported here: numba and Triton take seconds, and whether they compile for a GPU or run
in their simulators is decided when they are imported (:mod:`course.kernels.environment`).
"""
