"""Training: encoders and head, in stages, on Hugging Face `Trainer`."""
