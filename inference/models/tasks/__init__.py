"""One module per task: what its outputs must look like, and how they become predictions.

They refuse to run a model: arrays in, plain values out.
"""
