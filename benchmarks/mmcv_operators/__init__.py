"""mmcv's operators on torchvision's beside the compiled ones: results, and time."""
