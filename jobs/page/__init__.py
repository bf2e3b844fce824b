"""The local page (``python app.py``): see :mod:`jobs.page.server`."""
