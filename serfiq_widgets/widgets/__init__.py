"""The widgets: states that know no widget, views that observe them, explorers made of both."""
