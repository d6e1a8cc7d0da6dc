"""torchvision's detectors and segmentation networks, trained and evaluated on MMEngine's runner."""
