"""The lessons' exercises, the pictures with a text, and copies of the notebooks."""
