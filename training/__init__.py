"""From images to runs/<name>/model.keras."""
