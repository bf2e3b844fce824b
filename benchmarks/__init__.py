"""Speed, memory and robustness, each measured by one command."""
