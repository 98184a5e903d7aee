"""The commit protocol under faults: every operation, every kind of fault, and an independent look at what is left."""
