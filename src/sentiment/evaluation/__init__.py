"""Metrics and curves, and behavioural tests."""
