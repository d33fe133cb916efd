"""Requests and replies: this package translates between HTTP and the product, and holds no inference logic."""
