"""Safe reading of images: from bytes to RGB pixels.

This file imports nothing, so that the decoder process stays small.
"""
