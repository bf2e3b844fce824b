"""The training loop, and what it needs: optimisers, schedule, states, records."""
