"""The widgets: states without widgets, views that observe states, explorers made of both."""
