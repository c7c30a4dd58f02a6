"""From bytes to RGB pixels, safely.

Nothing is imported here: the process that decodes stays light.
"""
