"""What trains a network of any task; no file here names a task's truth or answer."""
