"""Trials on the cores of a machine or on a cluster: the home of Ray."""
