"""Whether people can reach what a page offers: at each control's centre lies that control."""

SIZES = ((1366, 768), (1920, 1080), (390, 844))

COVERED = """
(within) => {
  const CONTROLS = 'button, input, select, textarea, a[href], summary, [role=tab], [role=button], '
    + '[role=group][tabindex="0"]';
  const places = [...document.querySelectorAll('*')].filter((e) => e.scrollTop || e.scrollLeft)
    .map((e) => [e, e.scrollLeft, e.scrollTop]);
  const says = (e) => e && `${e.tagName.toLowerCase()}.${e.className?.baseVal ?? e.className}`;
  const name = (e) => e.getAttribute('aria-label') || e.innerText || e.name || e.type || '';
  const found = [];
  for (const control of document.querySelector(within).querySelectorAll(CONTROLS)) {
    if (!control.checkVisibility({ visibilityProperty: true })) continue;
    if (control.closest('[inert]')) continue;
    if (control.matches(':disabled') || !control.getClientRects().length) continue;
    control.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
    const { left, top, width, height } = control.getClientRects()[0];
    const [x, y] = [left + width / 2, top + height / 2];
    const hit = document.elementFromPoint(x, y);
    const own = [control, ...(control.labels ?? [])].some((e) => e.contains(hit));
    if (!own) found.push(`${says(control)} "${name(control).trim()}" lies under ${says(hit)}`
      + ` at ${Math.round(x)}, ${Math.round(y)}`);
    if (width < 1 || height < 1) found.push(`${says(control)} has no size`);
  }
  scrollTo({ top: 0, behavior: 'instant' });
  for (const [e, left, top] of places) e.scrollTo({ left, top, behavior: 'instant' });
  return found;
}
"""


def covered(page, within="body"):
    """Controls at whose centre, scrolled into view, something else lies; one sentence each."""
    return page.evaluate(COVERED, within)


def covered_at_all_sizes(page, within="body"):
    """The same at each of `SIZES`, by size."""
    before = page.viewport_size
    found = {}
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(150)  # plots follow the page's size
        if here := covered(page, within):
            found[width, height] = here
    page.set_viewport_size(before)
    return found


def agree_to_own_photos(page):
    """Ask for one's own photo, as that is when the notice comes, and agree."""
    page.locator(".serfiq-upload button").click()
    with page.expect_file_chooser():  # goes on where it was begun
        page.get_by_role("button", name="I agree").click()
