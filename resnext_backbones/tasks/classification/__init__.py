"""Pretraining a classifier on MMEngine's runner: what `resnext pretrain` calls."""
