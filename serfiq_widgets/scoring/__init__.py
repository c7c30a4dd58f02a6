"""From a face to its quality: the scorer, its results, user networks, calibration."""
