"""Serve a model over HTTP: scores for programs, and a page for people."""
