"""What is particular of the files of each task, known before a framework is loaded."""
