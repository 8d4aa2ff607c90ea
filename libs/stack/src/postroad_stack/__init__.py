"""A whole Postroad on one machine: its supervisor, servers, ports, certificates and state.

The `postroad` command that starts it is `postroad_cli`; the sink that it runs is `postroad_sink`.
"""
