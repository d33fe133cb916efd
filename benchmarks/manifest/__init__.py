"""How fast a manifest of any size becomes shards, and in how much memory; and the cost of looking at many shards."""
