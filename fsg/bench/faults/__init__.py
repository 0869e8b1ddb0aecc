"""Kill everything at random moments and see that nothing is lost: ``fsg bench --what faults``, and ``tests/faults``.

``torment.py`` runs a study through the command line, as a user would, and strikes; ``promises.py`` says what did not survive.
"""
