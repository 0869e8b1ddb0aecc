"""The record of a study: its folder, the ledger that is the one truth, who drives it, and what is left to run."""
