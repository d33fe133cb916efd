"""What an image costs before the model runs on it."""
