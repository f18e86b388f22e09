"""The door for people and programs outside: ``disco.v1.Jobs`` over gRPC, and as HTTP with JSON.

One implementation (``service``) behind two doors (``grpc_door``, ``http_door``) and in front of any
``Backend``: a cluster (``disco_operator.gateway``) or this machine (``disco_gateway.local``).
"""
