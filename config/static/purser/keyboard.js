// For people without a mouse: a way past the sidebar, and dialogs that hold the focus while they are open and give it back after.
(() => {
  "use strict";
  const REACHED = "a[href], button, input:not([type=hidden]), select, textarea, [tabindex]:not([tabindex='-1'])";
  const isShown = (one) => one.getClientRects().length > 0;
  const parts = (within) => [...within.querySelectorAll(REACHED)].filter((one) => isShown(one) && !one.disabled);
  let opener = null;

  const dialog = () => {
    const found = document.getElementById("dialog");
    return found && isShown(found) ? found : null;
  };

  // the first field, else the button that changes nothing
  const enter = (found) => (parts(found.querySelector("form") || found)[0] || found).focus();

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.target?.id === "modal-content") opener = event.detail.elt;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const isNew = event.detail.target?.id === "modal-content" || event.target.id === "modal-content";
    if (isNew) requestAnimationFrame(() => dialog() && enter(dialog()));
  });

  document.addEventListener("keydown", (event) => {
    const found = event.key === "Tab" && dialog();
    if (!found) return;
    const all = parts(found);
    const [first, last] = [all[0], all[all.length - 1]];
    const leaves = event.shiftKey ? document.activeElement === first : document.activeElement === last;
    if (leaves || !found.contains(document.activeElement)) {
      event.preventDefault();
      (event.shiftKey ? last : first)?.focus();
    }
  });

  window.addEventListener("load", () => {
    const content = document.getElementById("content");
    if (content && document.getElementById("nav-sidebar")) {
      const skip = document.createElement("a");
      Object.assign(skip, { className: "p-skip", href: "#content", textContent: "To the page" });
      content.tabIndex = -1;
      document.body.prepend(skip);
    }
    const frame = document.getElementById("modal-content")?.parentElement;
    const closed = () => {
      if (dialog() || !opener) return;
      const back = opener;
      opener = null;
      if (back.isConnected) back.focus();
    };
    if (frame) new MutationObserver(closed).observe(frame, { attributes: true, attributeFilter: ["style"] });
  });
})();
