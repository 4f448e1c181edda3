"""Networks that were trained elsewhere: from a file, or a name and weights, to a run folder."""
