"""Labelled posts from wherever they are: our own tables, and public data sets as downloaded."""
