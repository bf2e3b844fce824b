"""JPEG files and what they store, degradations, data sets."""
