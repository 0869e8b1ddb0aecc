"""A study from its beginning to its end: what is left of it, who runs it, what is written. The command line prints around it."""
