"""From a stored JPEG of any layout and size to a picture."""
