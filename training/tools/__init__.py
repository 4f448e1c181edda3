"""Commands around a training: sweeps, learning-rate search, data benchmarks and checks."""
