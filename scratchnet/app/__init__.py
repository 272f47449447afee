"""The product around the library: the command line, run folders, pages, photos.

The library knows nothing of it. `cli/` is the way in; `pages/` makes the pages.
"""
