// What needs no samples first: the figures are there before those are unpacked.

function tooltip() {
  const tip = h("div", { class: "tip", id: "tip", "aria-hidden": "true", hidden: true });
  tip.hide = () => (tip.hidden = true);
  tip.say = (text, event) => {
    tip.hidden = false;
    tip.textContent = text;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18}px`;
  };
  document.body.append(tip);
}

tooltip();
theme();
controls();
for (const draw of [glance, curves, radar, onset, heat, worth, speed, runs]) draw();
performance.mark("figures");
addEventListener("beforeprint", () => drawn.forEach((redraw) => redraw()));
flips().then(() => performance.mark("samples"), (error) => {
  byId("flips").append(h("p", { class: "notice" }, `The samples cannot be shown: ${error.message}. The page needs a browser of 2023 or later.`));
  throw error;
});
