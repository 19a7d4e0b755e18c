// What a page does better with a script than without one: times in the reader's zone, and links and keys to be copied.
"use strict";

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime*='T']")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      time.title = time.dateTime;
      time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    }
  }
}

function offerCopies(root) {
  for (const code of root.querySelectorAll("code[data-link]")) {
    code.textContent = new URL(code.dataset.link, location.origin).href;
  }
  for (const code of root.querySelectorAll("code[data-link], code[data-copy]")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select and copy it by hand";
      }
    });
    code.after(button);
  }
}

function improve(root) {
  showTimes(root);
  offerCopies(root);
}

improve(document);

// A link that has brought a part of the page is a new one then: whoever had come to it stays there.
let focused = "";
document.addEventListener("htmx:before:swap", (event) => {
  const answer = event.detail.ctx?.response?.raw;
  // Whoever is sent elsewhere, as to the log-in once a session has ended, goes there.
  if (answer?.redirected) {
    event.preventDefault();
    location.assign(answer.url);
    return;
  }
  focused = document.activeElement?.id ?? "";
});
document.addEventListener("htmx:after:swap", (event) => {
  improve(event.target);
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
});
