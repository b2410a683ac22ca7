"""Training of the fusion head over cached features of frozen encoders."""
