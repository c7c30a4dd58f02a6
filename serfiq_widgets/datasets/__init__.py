"""From folders and tables of images to tables of scores."""
