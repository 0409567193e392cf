"""Pages for people: HTML made on the server, for features that have some.

- `render.py` fills in templates, those of a feature and then those of `templates/`: extend
  `base.html.j2`, which has the blocks `title`, `content` and `head`
- `static.py` serves a folder of files; `static/pages.css` is the look of every page
- `links.py` the links that every page has at its top
- `negotiation.py` whether a caller wants a page or JSON

Everything is escaped, and nothing may stand in the page that the content security policy of
`app.security_headers` refuses: no inline script, no inline style, no file of another host.
"""

from .links import add_link
from .negotiation import prefers_html
from .render import render_fragment, render_page
from .static import StaticFolder

__all__ = ["StaticFolder", "add_link", "prefers_html", "render_fragment", "render_page"]
