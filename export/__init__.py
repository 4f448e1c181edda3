"""From runs/<name>/model.keras to compared files for the phone."""
