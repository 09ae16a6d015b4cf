// The page of all saved views.

import { toast } from "./page.js";
import { listen } from "./keys.js";
import { change } from "./saving.js";
import "./palette.js";

const main = document.getElementById("main");

async function act(from, body) {
  const problem = await change({ view: from.closest("[data-view]").dataset.view, ...body });
  if (problem) toast(problem);
  else location.reload();
}

main.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-view-do]");
  if (button) act(button, { do: button.dataset.viewDo, reviewer: button.dataset.reviewer });
});
main.addEventListener("submit", (event) => {
  event.preventDefault();
  act(event.target, { do: "assign", reviewer: event.target.elements.reviewer.value });
});
listen({});
