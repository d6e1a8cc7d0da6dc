"""A command of `resnext` is a small module, which parses, calls one function and reports.

Each has a docstring whose first line is what the command does and the rest its examples,
`add_arguments(parser)`, and `run(args)`. None imports PyTorch before it runs, so that help and
completion come at once. `args.launcher` says who started the process, where there is a `--device`.
"""
