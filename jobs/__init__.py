"""What scripts have in common: here options, data and models meet; only scripts import this."""
