"""Corpora of labelled reviews (IMDb, the user's own or synthetic) in one Parquet format."""
