"""How many images a second the batch path scores, from manifest to results, against the limit of the machine."""
