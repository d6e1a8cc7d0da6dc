"""Pretraining a classifier on MMEngine's runner: what `tools/pretrain_imagenet.py` calls."""
