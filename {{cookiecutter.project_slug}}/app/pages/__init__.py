"""Pages for people: HTML made on the server, for features that have some.

- `render.py` fills in templates, those of a feature and then those of `templates/`: extend
  `base.html.j2`, which has the blocks `title`, `content` and `head`
- `static.py` serves a folder of files; `static/pages.css` is the style of every page
- `sign_in.py` `/sign-in` and `/sign-out`, `session.py` the cookie, `browser.py` what else is done
  for browsers

Everything is escaped, and nothing may stand in the page that the content security policy of
`app.security_headers` refuses: no inline script, no inline style, no file of another host.
"""

from .render import add_link, prefers_html, render_fragment, render_page
from .static import StaticFolder

__all__ = ["StaticFolder", "add_link", "prefers_html", "render_fragment", "render_page"]
