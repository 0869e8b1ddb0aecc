"""What a study says, as a reader meets it: ``comparison`` decides the numbers, the renderers only set them.

Terminal, markdown, LaTeX and CSV show the same cells; ``figures`` draws the same comparison.
"""
