"""Metrics and curves, the linear baseline and behavioural tests."""
