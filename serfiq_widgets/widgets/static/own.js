// What is done with the user's own photos waits for consent, where a notice asks for it.

export function withConsent(el, act) {
  const asked = { bubbles: true, cancelable: true, detail: act };
  if (el.dispatchEvent(new CustomEvent("serfiq-own", asked))) act();
}
