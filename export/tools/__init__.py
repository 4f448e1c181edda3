"""Commands over whole runs: shrink to a budget, debug a file, the demo."""
