// The webcam: a snapshot, or live frames, each sent after the answer to the last one.

import { withConsent } from "./own.js";

const WIDTH = 400;
const MOST_PER_S = 6;
const QUALITY = 0.85;
const PATIENCE_MS = 4000;
const INVITATION = "a snapshot, or live";
const HINT = "Scored on this machine, not kept.";

function render({ model, el }) {
  el.classList.add("serfiq-camera");
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.hidden = true;
  video.setAttribute("aria-label", "What your camera sees");
  const says = document.createElement("small");
  says.setAttribute("role", "status");
  const canvas = document.createElement("canvas");
  let stream = null;
  let timer = 0;
  let sent = 0;

  const button = (text, act) => {
    const element = document.createElement("button");
    element.type = "button";
    element.textContent = text;
    element.addEventListener("click", act);
    return element;
  };

  const open = async () => {
    if (!navigator.mediaDevices?.getUserMedia) {
      says.textContent =
        "The browser shows cameras only to pages on this machine or over HTTPS. Upload a photo instead.";
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 480 }, facingMode: "user" },
      });
    } catch (error) {
      says.textContent =
        error.name === "NotAllowedError"
          ? "The camera was not allowed. Allow it beside the page's address, or upload a photo."
          : "No camera was found. Upload a photo instead.";
      return;
    }
    video.srcObject = stream;
    await video.play();
    shown(true);
  };
  const shown = (on) => {
    for (const element of [video, snap, live]) element.hidden = !on;
    toggle.textContent = on ? "Stop" : "Use the camera";
    toggle.setAttribute("aria-label", on ? "Stop the camera" : "Use the camera");
    live.setAttribute("aria-pressed", model.get("live"));
    says.textContent = on ? HINT : INVITATION;
  };
  const close = () => {
    clearTimeout(timer);
    timer = 0;
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    canvas.width = canvas.height = 0; // clears the last picture
    model.set("live", false);
    model.save_changes();
    shown(false);
  };
  const shoot = async (kind) => {
    canvas.width = Math.min(WIDTH, video.videoWidth);
    canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    sent = performance.now();
    model.send({ kind }, undefined, [await blob.arrayBuffer()]);
  };
  const again = () => {
    clearTimeout(timer);
    if (!stream || !model.get("live")) return;
    timer = setTimeout(
      () => {
        shoot("live");
        timer = setTimeout(again, PATIENCE_MS); // in case an answer is lost
      },
      Math.max(0, 1000 / MOST_PER_S - (performance.now() - sent)),
    );
  };

  const toggle = button("Use the camera", () => (stream ? close() : withConsent(el, open)));
  const snap = button("Snapshot", () => shoot("snapshot"));
  const live = button("Live", () => {
    model.set("live", !model.get("live"));
    model.save_changes();
    live.setAttribute("aria-pressed", model.get("live"));
    again();
  });
  el.append(video, toggle, snap, live, says);
  shown(false);

  model.on("msg:custom", ({ text, stop }) => {
    if (!stream) return;
    if (stop) {
      close();
      return;
    }
    says.textContent = text;
    again();
  });
  document.addEventListener("serfiq-ended", close); // the session has ended
  return () => {
    document.removeEventListener("serfiq-ended", close);
    close();
  };
}

export default { render };
