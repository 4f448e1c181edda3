"""Training of classifiers whose images have any number of labels."""
