"""Records and frames: how user data is encoded, sorted, merged and decoded. No sockets."""
