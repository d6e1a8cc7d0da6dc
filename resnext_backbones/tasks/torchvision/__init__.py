"""torchvision's networks train and are evaluated on MMEngine's runner."""
