"""Plots, and one self-contained page that shows them."""
