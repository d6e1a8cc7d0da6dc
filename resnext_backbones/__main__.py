"""`python -m resnext_backbones`, which torchrun can start as well."""

from resnext_backbones.cli import main

main()
