"""Compare new texts with those that a model was trained on: measures, what chance allows, a table and a picture."""
