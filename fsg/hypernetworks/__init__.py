"""The small networks that generate gradients, and what they read."""
