"""Figures and curves, the linear baseline, short texts of one capability each."""
