"""From an image to aligned faces: detectors, alignment, and degradations of a face."""
