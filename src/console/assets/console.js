// What a page does better with a script than without one: times in the reader's zone, and links and keys to be copied.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) {
    time.title = time.dateTime;
    time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}

for (const code of document.querySelectorAll("code[data-link]")) {
  code.textContent = new URL(code.dataset.link, location.origin).href;
}

for (const code of document.querySelectorAll("code[data-link], code[data-copy]")) {
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
