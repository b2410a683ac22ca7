"""The commands, by what they are about: run, posts, model, operate."""
