"""What a study is, without running it: the specification, its trials, the ledger of what happened, the folder it lives in."""
