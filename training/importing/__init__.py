"""From networks that were made elsewhere to runs of ours."""
