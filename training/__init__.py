"""From pictures to runs/<name>/model.keras."""
