"""From a face to its quality: the scorer, its results, networks of one's own, calibration."""
