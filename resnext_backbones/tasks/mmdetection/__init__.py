"""Training and evaluating MMDetection's detectors on MMEngine's runner."""
