// Monitors the session of a served page: shows at once when the kernel or the server is lost, and
// restarts with the settings that can be kept. A public page then leaves the screen; a kiosk also
// restarts when nobody uses it.

(() => {
  const { texts, leaves, kiosk, idle, warning } = JSON.parse(
    document.getElementById("serfiq-session-settings").textContent,
  );
  const { baseUrl, kernelId } = JSON.parse(
    document.getElementById("jupyter-config-data").textContent,
  );
  const CHECK_MS = 2000;
  const SOON_MS = 400; // after a first failure, and between two checks when people do something
  const PATIENCE_MS = 5000; // timeout for the server's answer
  const TRIES = 2;
  const KEPT = "serfiq-kept"; // settings for the page after a restart
  const note = document.createElement("dialog");
  note.className = "serfiq-session";
  const text = document.createElement("p");
  text.setAttribute("role", "alert");
  const more = document.createElement("p");
  const button = document.createElement("button");
  button.type = "button";
  note.append(text, more, button);
  note.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(note);

  let touched = performance.now();
  let told = touched;
  let fresh = true; // nobody has used this page yet: a kiosk then stays at its start
  let checking = false;
  let checked = 0;
  let connected = false; // whether the page was ever connected
  let failed = 0;
  let over = false;

  try {
    document.body.dataset.kept = sessionStorage.getItem(KEPT) ?? "";
    sessionStorage.removeItem(KEPT);
  } catch {
    /* without storage, the page starts with the first sample */
  }

  const show = (words, detail, label, act) => {
    text.textContent = words;
    more.textContent = detail;
    button.textContent = label;
    button.onclick = act;
    if (!note.open) note.showModal();
  };
  const stale = (on) => document.documentElement.classList.toggle("serfiq-stale", on);
  const settings = () => document.querySelector(".serfiq-link input")?.value.split("#")[1];
  const keep = () => {
    try {
      sessionStorage.setItem(KEPT, settings() ?? "");
    } catch {
      /* as above */
    }
  };
  const reload = () => {
    over = true;
    location.reload();
  };
  const again = () => {
    keep();
    reload();
  };
  const tell = (words) => {
    stale(true);
    show(words, settings() === undefined ? texts.anew : texts.kept, texts.again, again);
  };

  const end = (why) => {
    over = true;
    if (failed >= TRIES) return again(); // the server was restarted
    if (kiosk && why === "over") return reload();
    document.dispatchEvent(new Event("serfiq-ended"));
    if (!leaves) return tell(texts[why]);
    if (why === "crashed") keep();
    location.replace(`${baseUrl}over/${why}`); // nothing of the session stays on the screen
  };
  const fail = () => {
    failed += 1;
    if (failed >= TRIES) tell(texts.away);
    else setTimeout(check, SOON_MS);
  };
  const check = async () => {
    if (over || checking) return;
    checking = true;
    checked = performance.now();
    const used = touched > told || (kiosk && fresh);
    if (used) told = performance.now();
    let state = null;
    try {
      const address = `${baseUrl}alive/${kernelId}${used ? "?used=1" : ""}`;
      const reply = await fetch(address, {
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      if (reply.ok) state = await reply.json();
    } catch {
      /* no answer */
    }
    checking = false;
    if (over) return;
    if (state?.over) return end(state.over);
    connected ||= state?.connected;
    if (!state || (connected && !state.connected)) return fail();
    if (failed >= TRIES) {
      stale(false);
      note.close();
    }
    failed = 0;
  };
  setInterval(check, CHECK_MS);
  addEventListener("online", check);
  addEventListener("offline", check);
  addEventListener("pagehide", () => {
    over = true;
  });
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) again();
  }); // its kernel has ended
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) check();
  });

  const touch = ({ isTrusted, type }) => {
    if (!isTrusted) return; // events of the tour are not a user
    touched = performance.now();
    fresh = false;
    if ((type === "pointerdown" || type === "keydown") && touched - checked > SOON_MS) check();
    if (kiosk && !over && failed < TRIES && note.open) note.close();
  };
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "click"]) {
    addEventListener(kind, touch, { capture: true, passive: true });
  }

  if (!kiosk) return;
  document.documentElement.classList.add("serfiq-kiosk");
  addEventListener(
    "pointerdown",
    () => {
      document.documentElement.requestFullscreen?.().catch(() => {});
    },
    { once: true },
  );
  setInterval(() => {
    if (over || fresh || failed >= TRIES) return;
    const left = Math.ceil(idle - (performance.now() - touched) / 1000);
    if (left <= 0) return reload();
    if (left <= warning) show(texts.warning.replace("{}", left), "", texts.stay, null);
  }, 500);
  const starts = new MutationObserver(() => {
    const tour = document.querySelector(".serfiq-tour > button");
    if (!tour || !document.querySelector(".serfiq-plot .main-svg")) return;
    starts.disconnect();
    tour.click();
  });
  starts.observe(document.body, { subtree: true, childList: true });
})();
