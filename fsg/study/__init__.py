"""What a study asks: its file, typed; designs, spaces, seeds and the plan that they make. It runs and records nothing."""
