"""Where posts come from: post sources, and safe downloading of their images.

    from sources.open import open_source

Importing this package alone loads nothing else.
"""
