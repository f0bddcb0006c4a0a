"""Plots, and one page that shows them."""
