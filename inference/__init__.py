"""The product: images and texts scored with ONNX models, over HTTP and from queues."""

import os

__version__ = "0.1.0"

# onnxruntime's wheels since 1.31 report their use to Microsoft, from a thread of their own, with an identifier and a
# database that they keep in the home folder (its Privacy.md). It asks the environment when it is imported, and every
# import of it in this package comes after this line.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Azure Monitor's exporter reports its use to a resource of Microsoft's ("statsbeat"), and asks a server of theirs what
# it is to do, which it tells the key of ours. It reads these variables when it is configured.
os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
os.environ.setdefault("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED", "true")
