// Beside a public dashboard: leaves it when its session is over, and brings a kiosk back to its start.

(() => {
  const { texts, kiosk, idle, warning } = JSON.parse(document.getElementById("serfiq-booth").textContent);
  const kernel = JSON.parse(document.getElementById("jupyter-config-data").textContent).kernelId;
  const CHECK_MS = 4000;
  const TRIES = 2;
  const note = document.createElement("dialog");
  note.className = "serfiq-booth";
  const text = document.createElement("p");
  text.setAttribute("role", "alert");
  const button = document.createElement("button");
  button.type = "button";
  note.append(text, button);
  note.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(note);

  let touched = performance.now();
  let told = touched;
  let fresh = true; // nobody has touched this page yet: a kiosk's then waits at its start
  let failed = 0;
  let over = false;

  const show = (words, label, act) => {
    text.textContent = words;
    button.textContent = label;
    button.onclick = act;
    if (!note.open) note.showModal();
  };
  const again = () => location.reload();

  const check = async () => {
    const used = touched > told || (kiosk && fresh);
    if (used) told = performance.now();
    try {
      const reply = await fetch(`/alive/${kernel}${used ? "?used=1" : ""}`, { cache: "no-store" });
      const state = await reply.json();
      if (failed >= TRIES && note.open && !state.over) note.close();
      failed = 0;
      if (!state.over) return;
      over = true;
      if (kiosk && state.over === "over") return again();
      location.replace(`/over/${state.over}`); // nothing of the session stays on the screen
    } catch {
      failed += 1;
      if (failed >= TRIES) show(texts.away, texts.again, again);
    }
  };
  setInterval(() => { if (!over) check(); }, CHECK_MS);
  document.addEventListener("visibilitychange", () => { if (!over && !document.hidden) check(); });

  const touch = ({ isTrusted }) => {
    if (!isTrusted) return; // what plays by itself is nobody
    touched = performance.now();
    fresh = false;
    if (kiosk && !over && failed < TRIES && note.open) note.close();
  };
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "click"]) {
    addEventListener(kind, touch, { capture: true, passive: true });
  }

  if (!kiosk) return;
  document.documentElement.classList.add("serfiq-kiosk");
  addEventListener("pointerdown", () => {
    document.documentElement.requestFullscreen?.().catch(() => {});
  }, { once: true });
  setInterval(() => {
    if (over || fresh || failed >= TRIES) return;
    const left = Math.ceil(idle - (performance.now() - touched) / 1000);
    if (left <= 0) return again();
    if (left <= warning) show(texts.warning.replace("{}", left), texts.stay, null);
  }, 500);
  const starts = new MutationObserver(() => {
    const tour = document.querySelector(".serfiq-tour > button");
    if (!tour || !document.querySelector(".serfiq-plot .main-svg")) return;
    starts.disconnect();
    tour.click();
  });
  starts.observe(document.body, { subtree: true, childList: true });
})();
