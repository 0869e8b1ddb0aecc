"""Running trials: what one reports, what is written of it, when it is tried again, and the port to what runs them."""
