"""A network is put together from parts: one table a kind.

A part keeps the memory format, folds and fuses what it holds (`compute.steps.Steps`), and draws its
own weights.
"""
