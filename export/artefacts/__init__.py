"""What an exported file is: its variant, and what it says of itself and beside itself."""
