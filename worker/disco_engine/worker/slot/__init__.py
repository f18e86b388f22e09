"""A slot: a warm child process that runs the user's code. It knows no addresses and no gRPC."""
