"""Training and evaluating: MMDetection's detectors on MMEngine, torchvision's without it."""
