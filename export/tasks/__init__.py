"""What each task's files are: their images, their answers, and when two of them agree."""
