"""Looking after a store: what it takes, what may go, whether it is sound, and taking things out of it.

Nothing else in the store imports it.
"""
