"""Takes the audio out of meeting recordings and stores it exactly once."""
