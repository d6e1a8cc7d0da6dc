"""A classifier is pretrained on MMEngine's runner, as `resnext pretrain` does."""
