"""How fast, how large and how soon this service answers, beside its peers and beside no server at all."""
