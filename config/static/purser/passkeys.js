// Says what went wrong with a passkey: the browser tells its reason only to the console.
(() => {
  "use strict";
  const place = () => {
    const found = document.querySelector("main > .errors");
    if (found) return found;
    const made = document.createElement("p");
    made.className = "errors";
    made.setAttribute("role", "alert");
    document.querySelector("main h1").after(made);
    return made;
  };

  document.addEventListener("allauth.error", (event) => {
    const reason = event.detail.exception;
    if (reason && reason.name === "SecurityError") {
      place().textContent = `Passkeys do not work at ${window.location.host}: they need https:// and a name, or localhost.`;
    } else if (reason && reason.name === "InvalidStateError") {
      place().textContent = "This passkey has been added before.";
    } else {
      place().textContent = "The passkey was not used. Try again, or choose another way.";
    }
  });
})();
