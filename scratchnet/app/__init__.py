"""The product around the library: the command line, run folders, pages, photos.

The library knows nothing of it. `cli/` is the way in; `pages/` makes the pages.
"""

DISTRIBUTION = "scratchnet-numpy"
"""The name under which pip knows what is installed. (`scratchnet` on the public index is somebody
else's package, so no text may tell people to install that name.)"""
