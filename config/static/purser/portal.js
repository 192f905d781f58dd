// What is only comfort: copying a text with one click, and seeing how far work is. Without scripts the texts are there to be
// selected, and the page to be reloaded.
(() => {
  "use strict";
  for (const button of document.querySelectorAll("[data-copies]")) {
    const source = document.getElementById(button.dataset.copies);
    if (!source || !navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.textContent.trim());
      const said = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = said; }, 2000);
    });
  }

  // a part of a page that says how far some work is, until it does not say so any more
  const refresh = async (id) => {
    const part = document.getElementById(id);
    if (!part?.hasAttribute("data-refreshes")) return;
    const busy = part.contains(document.activeElement) && document.activeElement.matches("button, a");
    if (!document.hidden && !busy) {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
      if (answer?.ok && !answer.redirected) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const found = page.getElementById(id);
        if (found) part.replaceWith(document.adoptNode(found));
      }
    }
    setTimeout(refresh, 2000, id);
  };
  for (const part of document.querySelectorAll("[data-refreshes]")) setTimeout(refresh, 2000, part.id);
})();
