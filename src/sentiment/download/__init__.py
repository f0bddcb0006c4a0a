"""Downloads over HTTP, identified by checksum."""
