"""The deployment files, read as data and held against the code."""
