"""What files are measured by where images have no labels."""

# How many images a file answers as the network does that was imported, in percent.
AGREEMENT = "agreement"
