"""The model side: repository → verified version → warm session, and the pure stages before and after its run.

It refuses to know of requests, queues and images as files: pixels come in, predictions go out. Importing the package
loads nothing; import the module that is meant.
"""
