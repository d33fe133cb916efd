"""A conformance suite for the Open Inference Protocol v2 over REST, for this service or any other.

    pytest tests/oip --server http://HOST:PORT[/PREFIX] --oip-model identity_fp32=NAME --oip-model add=NAME …

Without `--server` it starts this service on tiny models of its own. docs/reference/open-inference-protocol.md names the
roles; what a server has no model for is skipped.
"""
