// A pasted API key must not end up in an address, and so in histories and logs: search fields that hold one are not sent.
// Instead the key goes, by POST, to the page that finds keys.
(() => {
  "use strict";
  const KEY = /psr_x?[0-9a-f]{16}_[\w-]{16,}/;

  const find = (secret) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/admin/tenants/apikey/find/";
    const token = document.querySelector("[name=csrfmiddlewaretoken]");
    for (const [name, value] of [["secret", secret], ["csrfmiddlewaretoken", token ? token.value : ""]]) {
      const input = document.createElement("input");
      input.type = "hidden";
      input.name = name;
      input.value = value;
      form.append(input);
    }
    document.body.append(form);
    form.submit();
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "get") return;
    for (const input of form.querySelectorAll("input")) {
      const match = KEY.exec(input.value);
      if (match) {
        event.preventDefault();
        event.stopImmediatePropagation();
        input.value = "";
        find(match[0]);
        return;
      }
    }
  }, true);

  // the search of pages asks while one types
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb === "get" && Object.values(event.detail.parameters).some((value) => KEY.test(String(value)))) {
      event.preventDefault();
    }
  });

  // what a screen reader needs and the pages' own parts leave out: names of pick lists, and where the page begins
  const name = () => {
    for (const box of document.querySelectorAll(".select2-selection")) {
      const select = box.closest(".select2")?.previousElementSibling;
      const label = select?.id && document.querySelector(`label[for="${select.id}"]`);
      const text = (label?.textContent || select?.getAttribute("name") || "Choose").replace("*", "").trim();
      if (!box.hasAttribute("aria-label")) box.setAttribute("aria-label", text);
      box.removeAttribute("aria-labelledby");
      box.querySelector("ul")?.setAttribute("role", "presentation");
      box.querySelector("[role=textbox]")?.setAttribute("aria-label", text);
      box.querySelector("input")?.setAttribute("aria-label", text);
    }
    for (const tip of document.querySelectorAll("span.help-tooltip[aria-label]")) tip.setAttribute("role", "img");
    const main = document.getElementById("main") || document.querySelector(".login #page");
    if (main && !main.hasAttribute("role")) main.setAttribute("role", "main");
  };
  // a list of long texts is cut until it is as wide as its frame
  const fit = () => {
    const list = document.getElementById("result_list");
    const frame = list?.closest(".simplebar-content-wrapper, div");
    list?.style.removeProperty("--p-widest");
    for (const rem of [12, 10, 8, 7, 6]) {
      if (!frame || list.scrollWidth <= frame.clientWidth) return;
      list.style.setProperty("--p-widest", `${rem}rem`);
    }
  };

  window.addEventListener("resize", fit);
  window.addEventListener("load", () => {
    name();
    fit();
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  });
})();
