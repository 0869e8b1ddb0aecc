"""A report as one page: a single file, which fetches nothing and is read by eye, by keyboard and by screen reader.

``charts.py`` says what is drawn, as plain data; ``render.py`` makes the file, with tables that need no script; ``page.js``
draws the data as SVG and sorts the tables. Proof: ``tests/report/test_page.py``, in a real browser.
"""

from fsg.report.page.render import html_page

__all__ = ["html_page"]
