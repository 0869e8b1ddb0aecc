"""The one home of mlflow: a copy of the study's ledger that people can browse.

``runs`` says what MLflow should hold, ``exporter`` writes it, ``following`` does so beside a running study, ``view`` is the
page that shows the arms side by side, ``server`` is what ``fsg ui`` runs. The ledger is the truth: the copy can be
deleted and made again. Importing this package costs nothing; mlflow is imported when a store is first opened.
"""

from fsg.tracking.exporter import Exporter
from fsg.tracking.following import FollowingExporter
from fsg.tracking.server import TrackingServer, serve

__all__ = ["Exporter", "FollowingExporter", "TrackingServer", "serve"]
