"use strict";
const panes = [...document.querySelectorAll(".pane")];
const tokens = panes.slice(0, 2).map((pane) => [...pane.querySelectorAll("[data-i]")]);
const messages = [...panes[2].querySelectorAll("article")];
const count = tokens[0].length;
let current = -1;

function messageOf(index) {
  return messages.find((each) => Number(each.dataset.first) <= index && index < Number(each.dataset.stop));
}

function reveal(pane, element) {
  const inner = element.getBoundingClientRect();
  const outer = pane.getBoundingClientRect();
  if (inner.top < outer.top + 40 || inner.bottom > outer.bottom) {
    pane.scrollTop += inner.top - outer.top - outer.height / 3;
  }
}

function select(index) {
  current = Math.max(0, Math.min(count - 1, index));
  for (const each of document.querySelectorAll(".on")) each.classList.remove("on");
  [tokens[0][current], tokens[1][current], messageOf(current)].forEach((element, pane) => {
    if (!element) return;
    element.classList.add("on");
    reveal(panes[pane], element);
  });
}

function step(by) {
  const at = messages.findIndex((each) => Number(each.dataset.stop) > current);
  const to = messages[Math.max(0, Math.min(messages.length - 1, (at < 0 ? messages.length : at) + by))];
  if (to) select(Number(to.dataset.first));
}

document.addEventListener("click", (event) => {
  const token = event.target.closest("[data-i]");
  const message = event.target.closest("article");
  if (token) select(Number(token.dataset.i));
  else if (message && !event.target.closest("summary")) select(Number(message.dataset.first));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const keys = {
    j: () => select(current + 1), ArrowRight: () => select(current + 1),
    k: () => select(current - 1), ArrowLeft: () => select(current - 1),
    n: () => step(1), p: () => step(-1),
    1: () => panes[0].focus(), 2: () => panes[1].focus(), 3: () => panes[2].focus(),
  };
  const pressed = keys[event.key];
  if (!pressed || count === 0) return;
  pressed();
  event.preventDefault();
});
