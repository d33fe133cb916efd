"""The sample model repository, its images, and the scripts that made both; no part of the product."""
