"""Labelled reviews, from IMDb, from a user's own files or generated, in one Parquet file."""
