"""The command line program `onnxfn`: a client of the service's HTTP API, and the way to start it locally.

Modules import what they need inside their commands, so that `onnxfn --help` stays instant; none of them scores.
"""
