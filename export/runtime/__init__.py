"""Files run in the runtimes that ship them: loading, prediction, verification, timing."""
