"""Exported files on their way to users: the Android demo and the web page."""
