"""The partition service: keeps what attempts push, shows readers what is sealed."""
