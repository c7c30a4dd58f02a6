// A button that erases every face of the session. The event "serfiq-erase" on the document does the
// same, for a page that notices that the user has left.

function render({ model, el }) {
  el.classList.add("serfiq-erase");
  const button = document.createElement("button");
  button.type = "button";
  button.title = "Forget every photo and result of this session";
  button.textContent = "Erase now";
  const says = document.createElement("span");
  says.setAttribute("role", "status");
  el.append(button, says);
  const erase = () => model.send({});
  button.addEventListener("click", erase);
  document.addEventListener("serfiq-erase", erase);
  const answer = () => {
    says.textContent = "Erased";
    setTimeout(() => {
      says.textContent = "";
    }, 3000);
  };
  model.on("msg:custom", answer);
  return () => {
    model.off("msg:custom", answer);
    document.removeEventListener("serfiq-erase", erase);
  };
}

export default { render };
