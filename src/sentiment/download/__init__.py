"""Files from HTTP servers, known by their checksums."""
