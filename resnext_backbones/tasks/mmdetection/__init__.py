"""MMDetection's detectors train and are evaluated on MMEngine's runner."""
