"""What a study is, without running it: its specification, its trials, the ledger of what happened, its folder."""
